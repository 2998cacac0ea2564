/* The searches of index.py over the same arrays: what is found is the same, only sooner.

   Plain C without any library. Memory is what a search waits for, so whatever it will read is asked for ahead: while one
   query's slots are compared, those of the next are on their way, and so are rows and codes of those before it. Next bands
   are compared thirty-two at a time in vectors, of which the compiler makes AVX2, SSE2 or NEON; on x86-64 the processor
   is asked once for AVX2 (`optout_is_wide`), and not by every search: a virtual machine answers that by leaving it, which
   takes longer than a search. */

#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t i64;
typedef u32 eight __attribute__((vector_size(32)));
typedef u16 sixteen __attribute__((vector_size(32)));
typedef u64 quarters __attribute__((vector_size(32)));

typedef struct {
  const u32 *parts;     /* (8, members): members xor centre, nearest first */
  const i64 *distances; /* (members): from the centre */
  const i64 *begins;    /* (258): where the members at each distance begin */
  const i64 *rows;      /* (members) */
  const u64 *centre;
  i64 members;
} Crowd;

typedef struct {
  const u64 *base, *added; /* (rows, 4): codes */
  i64 base_rows, end;      /* rows in the base, and in all */
  const u8 *live;
  const u16 *slots;         /* (16 * 65536, lanes) */
  i64 lanes, ahead;         /* of a slot, and how many lines of it are asked for ahead */
  const u32 *starts, *rows; /* of what is in the slots since they were built */
  const u32 *last, *late_rows, *late_before; /* and since: the last of each list, its row, and the one before */
  const u16 *boxes;     /* (n, lanes): the lists that no slot can hold */
  const u32 *box_rows; /* (n, lanes) */
  const Crowd *crowds;
  i64 crowd_count;
} Index;

/* What a search looks up, and how far from a query it finds. */
typedef struct {
  const u16 *masks;  /* what a band may differ by in a list that is looked up */
  const u8 *allowed; /* and what the next band may then */
  i64 mask_count, radius;
} Probes;

enum { BANDS = 16, PROBES = 272, PASSED = 96, MEMBERS = 32, FEW = 4, LINE = 32, RUN = 65535, RING = 8 };

typedef struct {
  const u64 *queries; /* (count, 4) */
  i64 count, radius;
  i64 *witnesses; /* (count): a row, or -1 */
  i64 *hits;      /* (room, 3): query, row, distance; null when one witness of each is enough */
  i64 room, found;
  const Probes *probes;
} Search;

typedef struct {
  const u32 *from; /* where the row is written, if the list is in boxes */
  u32 list, entry;
} Passed;

/* Some of the lists that one query looks up, and what passed there. */
typedef struct {
  i64 query, band, mask, probes, runs, passed;
  u32 lists[PROBES];
  u16 next[PROBES], run[PROBES]; /* the next band of the query; which of the probes are in boxes */
  u8 most[PROBES];
  Passed places[PASSED];
  const u32 *from[PASSED];
  u32 rows[PASSED];
} Part;

#define FAST static inline __attribute__((always_inline))

FAST const u64 *code(const Index *index, i64 row) {
  return row < index->base_rows ? index->base + 4 * row : index->added + 4 * (row - index->base_rows);
}

FAST i64 distance(const u64 *one, const u64 *other) {
  return __builtin_popcountll(one[0] ^ other[0]) + __builtin_popcountll(one[1] ^ other[1]) +
         __builtin_popcountll(one[2] ^ other[2]) + __builtin_popcountll(one[3] ^ other[3]);
}

FAST int over(const Search *search, i64 query) { return !search->hits && search->witnesses[query] >= 0; }

/* Keep the row if it is live and within the radius. */
FAST void measure(const Index *index, Search *search, i64 query, i64 row) {
  i64 bits = distance(search->queries + 4 * query, code(index, row));
  if (__builtin_expect(bits > search->radius || !index->live[row], 1)) return;
  search->witnesses[query] = row;
  if (!search->hits) return;
  if (search->found < search->room) {
    i64 *hit = search->hits + 3 * search->found;
    hit[0] = query;
    hit[1] = row;
    hit[2] = bits;
  }
  search->found++;
}

/* First step: which lists, one after the other. */
FAST void begin(const Search *search, Part *part, i64 query, i64 first) {
  i64 left = BANDS * search->probes->mask_count - first;
  part->query = query;
  part->band = first / search->probes->mask_count;
  part->mask = first % search->probes->mask_count;
  part->runs = part->passed = 0;
  part->probes = over(search, query) ? 0 : left < PROBES ? left : PROBES;
}

FAST void choose(const Index *index, const Search *search, Part *part, i64 i) {
  const u16 *bands = (const u16 *)(search->queries + 4 * part->query);
  const Probes *probes = search->probes;
  u32 list = part->lists[i] = (u32)part->band << 16 | (u16)(bands[part->band] ^ probes->masks[part->mask]);
  part->next[i] = bands[(part->band + 1) & 15];
  part->most[i] = probes->allowed[part->mask];
  const u16 *slot = index->slots + index->lanes * (i64)list;
  for (i64 line = 0; line < index->ahead; line++) __builtin_prefetch(slot + LINE * line);
  if (++part->mask == probes->mask_count) part->mask = 0, part->band++;
}

#define EACH 0x0001000100010001ULL

/* Ones of each sixteen bits. */
FAST u64 ones(u64 x) {
  x -= x >> 1 & 0x5555 * EACH;
  x = (x & 0x3333 * EACH) + (x >> 2 & 0x3333 * EACH);
  x = (x + (x >> 4)) & 0x0f0f * EACH;
  return (x + (x >> 8)) & 0x00ff * EACH;
}

/* The highest bits of four lanes, side by side. */
FAST u32 gathered(u64 x) { return (u32)((x >> 15 & EACH) * 0x0001000200040008ULL >> 48 & 15); }

/* Which of eight next bands differ from `next` by `most` bits at most: as few as this are faster without vectors. */
FAST u32 near_of_8(const u16 *at, u64 next, u64 most) {
  u64 low, high;
  __builtin_memcpy(&low, at, 8);
  __builtin_memcpy(&high, at + 4, 8);
  u64 far = (0x7fff - most) * EACH;
  return gathered(~(ones(low ^ next * EACH) + far)) | gathered(~(ones(high ^ next * EACH) + far)) << 4;
}

FAST void near_of_16(const u16 *at, u16 next, u16 most, quarters *near) {
  sixteen x;
  __builtin_memcpy(&x, at, sizeof x);
  x ^= next;
  x -= x >> 1 & 0x5555;
  x = (x & 0x3333) + (x >> 2 & 0x3333);
  x = (x + (x >> 4)) & 0x0f0f;
  x = (x + (x >> 8)) & 0x00ff;
  *near = (quarters)(x <= most);
}

/* The same of so many, 8 or 16 or at least 32, of which no more are looked at. */
FAST u32 near_of(const u16 *at, i64 lanes, u16 next, u16 most) {
  if (lanes == 8) return near_of_8(at, next, most);
  quarters near[2];
  near_of_16(at, next, most, near);
  near_of_16(lanes == 16 ? at : at + 16, next, most, near + 1);
  quarters any = near[0] | near[1];
  if (__builtin_expect(!(any[0] | any[1] | any[2] | any[3]), 1)) return 0;
  u32 found = 0;
  for (int i = lanes == 16 ? 3 : 7; i >= 0; i--) found = found << 4 | gathered(near[i / 4][i % 4]);
  return found;
}

/* Where the row of an entry in a slot is written. */
FAST const u32 *row_of(const Index *index, u32 list, u32 entry) {
  u32 first = index->starts[list];
  if (entry < index->starts[list + 1] - first) return index->rows + first + entry;
  u32 late = index->last[list] - 1;
  for (i64 count = index->slots[index->lanes * (i64)list]; count > (i64)entry + 1; count--)
    late = index->late_before[late] - 1;
  return index->late_rows + late;
}

/* Fourth to sixth step: where the rows of what passed are written, their codes, and the answer. */
FAST void find(const Index *index, const Search *search, Part *part) {
  if (over(search, part->query)) part->passed = 0;
  for (i64 i = 0; i < part->passed; i++) {
    const Passed *passed = part->places + i;
    __builtin_prefetch(part->from[i] = passed->from ? passed->from : row_of(index, passed->list, passed->entry));
  }
}

FAST void fetch(const Index *index, Part *part) {
  for (i64 i = 0; i < part->passed; i++) __builtin_prefetch(code(index, part->rows[i] = *part->from[i]));
}

FAST void settle(const Index *index, Search *search, Part *part) {
  for (i64 i = 0; i < part->passed && !over(search, part->query); i++) measure(index, search, part->query, part->rows[i]);
  part->passed = 0;
}

/* Which entries of a slot or a box pass by their next band: rows are written at `from`, or are the slot's. */
FAST void pass(const Index *index, Search *search, Part *part, i64 i, const u16 *box, const u32 *from, i64 lanes) {
  u32 count = box[0], list = part->lists[i];
  for (u32 first = 0; first <= count; first += LINE) {
    u32 near = near_of(box + first, lanes, part->next[i], part->most[i]);
    if (count - first < LINE - 1) near &= (2u << (count - first)) - 1;
    /* The first lane is the count. */
    if (!first) near &= ~1u;
    if (__builtin_expect(!near, 1)) continue;
    if (__builtin_expect(part->passed > PASSED - LINE, 0)) {
      find(index, search, part);
      fetch(index, part);
      settle(index, search, part);
    }
    if (!from) __builtin_prefetch(index->starts + list);
    for (; near; near &= near - 1) {
      u32 lane = first + (u32)__builtin_ctz(near);
      part->places[part->passed++] = (Passed){from ? from + lane : 0, list, lane - 1};
    }
  }
}

/* Second step: a slot. Which lists are in boxes is written there. */
FAST void compare(const Index *index, Search *search, Part *part, i64 i, i64 lanes) {
  const u16 *slot = index->slots + lanes * (i64)part->lists[i];
  if (__builtin_expect(slot[0] != RUN, 1)) {
    pass(index, search, part, i, slot, 0, lanes);
    return;
  }
  part->run[part->runs++] = (u16)i;
  const u32 *run = (const u32 *)slot;
  i64 size = run[3] + run[3] / lanes + 1;
  for (i64 line = 0; line < 4 && LINE * line < size; line++)
    __builtin_prefetch(index->boxes + lanes * (i64)run[1] + LINE * line);
}

/* Both by turns, since memory answers so many questions at a time only. */
FAST void choose_and_compare(const Index *index, Search *search, Part *next, Part *part, i64 lanes) {
  i64 probes = over(search, part->query) ? 0 : part->probes, both = probes < next->probes ? probes : next->probes, i = 0;
  for (; i < both; i++) {
    choose(index, search, next, i);
    compare(index, search, part, i, lanes);
  }
  for (i64 n = i; n < next->probes; n++) choose(index, search, next, n);
  for (; i < probes; i++) compare(index, search, part, i, lanes);
}

/* Third step: the boxes. */
FAST void open_boxes(const Index *index, Search *search, Part *part) {
  if (over(search, part->query)) return;
  i64 lanes = index->lanes;
  for (i64 n = 0; n < part->runs; n++) {
    const u32 *run = (const u32 *)(index->slots + lanes * (i64)part->lists[part->run[n]]);
    i64 box = run[1];
    for (i64 left = run[3]; left > 0; left -= lanes - 1, box++)
      pass(index, search, part, part->run[n], index->boxes + lanes * box, index->box_rows + lanes * box, lanes);
  }
}

FAST void look_up(const Index *index, Search *search) {
  Part ring[RING], nothing;
  nothing.probes = nothing.query = 0;
  i64 each = (BANDS * search->probes->mask_count + PROBES - 1) / PROBES, parts = search->count * each;
  for (i64 step = 0; step < parts + 5; step++) {
#define AT(n) if (step >= n && step < parts + n)
#define PART(n) (ring + (step - n) % RING)
    if (step <= parts) {
      Part *next = PART(0), *part = step ? PART(1) : &nothing;
      if (step < parts)
        begin(search, next, step / each, step % each * PROBES);
      else
        next = &nothing;
      if (index->lanes == 8)
        choose_and_compare(index, search, next, part, 8);
      else if (index->lanes == 16)
        choose_and_compare(index, search, next, part, 16);
      else if (index->lanes == 32)
        choose_and_compare(index, search, next, part, 32);
      else if (index->lanes == 64)
        choose_and_compare(index, search, next, part, 64);
      else
        choose_and_compare(index, search, next, part, index->lanes);
    }
    AT(2) open_boxes(index, search, PART(2));
    AT(3) find(index, search, PART(3));
    AT(4) fetch(index, PART(4));
    AT(5) settle(index, search, PART(5));
#undef AT
#undef PART
  }
}

/* Members of a crowd: `_Crowd.around`. */
FAST void look_around(const Index *index, Search *search, i64 query, const Crowd *crowd) {
  const u64 *words = search->queries + 4 * query;
  i64 away = distance(words, crowd->centre), radius = search->radius;
  i64 place = crowd->begins[away > radius ? away - radius : 0];
  i64 end = crowd->begins[(away + radius < 256 ? away + radius : 256) + 1];
  u32 others[8];
  for (int n = 0; n < 8; n++) others[n] = ~(u32)((words[n / 2] ^ crowd->centre[n / 2]) >> 32 * (n & 1));
  while (place < end && !over(search, query)) {
    i64 some = end - place < MEMBERS ? end - place : MEMBERS;
    i64 most = (crowd->distances[place + some - 1] + radius - away) >> 1;
    if (most <= FEW && some == MEMBERS) {
      /* Here hardly anyone is near. Bits are laid over each other, which makes them no more, and `most` struck out. */
      eight near = {0};
      for (int i = 0; i < MEMBERS / 8; i++) {
        eight held = {0};
        for (int n = 0; n < 8; n++) {
          eight part;
          __builtin_memcpy(&part, crowd->parts + n * crowd->members + place + 8 * i, sizeof part);
          held |= part & others[n];
        }
        for (i64 n = 0; n < most; n++) held &= held - 1;
        near |= (eight)(held == 0);
      }
      quarters any = (quarters)near;
      if (__builtin_expect(!(any[0] | any[1] | any[2] | any[3]), 1)) {
        place += some;
        continue;
      }
    }
    for (i64 i = place; i < place + some && !over(search, query); i++) {
      /* All bits are counted here, in order, before a code is read somewhere in memory. */
      i64 more = 0;
      for (int n = 0; n < 8; n++) more += __builtin_popcount(crowd->parts[n * crowd->members + i] & others[n]);
      if (2 * more <= crowd->distances[i] + radius - away) measure(index, search, query, crowd->rows[i]);
    }
    place += some;
  }
}

FAST i64 search_all(const Index *index, const Probes *probes, const u64 *queries, i64 count, i64 *witnesses, i64 *hits,
                    i64 room) {
  Search search = {queries, count, probes->radius, witnesses, hits, room, 0, probes};
  for (i64 query = 0; query < count; query++) {
    witnesses[query] = -1;
    if (probes->mask_count)
      for (i64 i = 0; i < index->crowd_count && !over(&search, query); i++)
        look_around(index, &search, query, index->crowds + i);
    else
      for (i64 row = 0; row < index->end && !over(&search, query); row++) measure(index, &search, query, row);
  }
  if (probes->mask_count) look_up(index, &search);
  return search.found;
}

/* Searches for each of the queries (count, 4) what is within the radius: a row of each goes to `witnesses`, or -1.
   With `hits` (room, 3) everything found goes there, maybe more than once; returns how much there is, and what is beyond
   the room is not written. Without anything to look up all codes are compared. */
i64 optout_search(const Index *index, const Probes *probes, const u64 *queries, i64 count, i64 *witnesses, i64 *hits,
                  i64 room) {
  return search_all(index, probes, queries, count, witnesses, hits, room);
}

#if defined(__x86_64__)
#include <cpuid.h>

/* Whether processor and system know AVX2, for `optout_search_wide`. The compilers' own question needs a library that not
   every one of them has. */
int optout_is_wide(void) {
  unsigned a, b, c, d, low, high;
  if (!__get_cpuid(1, &a, &b, &c, &d) || ~c & (1u << 23 | 1u << 27)) return 0; /* popcnt, xgetbv */
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low & 6) != 6) return 0; /* the system saves the long registers */
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && b & 1u << 5 && b & 1u << 3;
}

__attribute__((target("avx2,popcnt,bmi"))) i64 optout_search_wide(const Index *index, const Probes *probes,
                                                                  const u64 *queries, i64 count, i64 *witnesses,
                                                                  i64 *hits, i64 room) {
  return search_all(index, probes, queries, count, witnesses, hits, room);
}
#else
int optout_is_wide(void) { return 0; }

i64 optout_search_wide(const Index *index, const Probes *probes, const u64 *queries, i64 count, i64 *witnesses, i64 *hits,
                       i64 room) {
  return search_all(index, probes, queries, count, witnesses, hits, room);
}
#endif

/* --- what searches read, made -------------------------------------------------------------------------------------

   The tables of index.py and keypoint_index.py: what NumPy makes of the same, number for number. Everything that is
   counted in comes as zeros. */

enum { PART_BITS = 6, PARTS = 1 << PART_BITS };

/* How many of the members (count, rows of codes) have each value in each band. */
void optout_count(const u64 *codes, const i64 *members, i64 count, u32 *counts) {
  for (i64 i = 0; i < count; i++) {
    const u16 *bands = (const u16 *)(codes + 4 * members[i]);
    for (i64 band = 0; band < BANDS; band++) counts[band << 16 | bands[band]]++;
  }
}

/* The members in their lists, of which `counts` says how long they are and `slots` where they are: their next bands in
   slots or boxes, their rows from `starts` on or with the boxes. In each band they are spread by the upper bits of their
   values first, so that what is written at a time stays in the cache: a fifth of the time. `entries` (count), `filled`
   (65536). */
void optout_list(const u64 *codes, const i64 *members, i64 count, const u32 *counts, u16 *slots, i64 lanes,
                 const u32 *starts, u32 *rows, u16 *boxes, u32 *box_rows, u64 *entries, u32 *filled) {
  for (i64 band = 0; band < BANDS; band++) {
    i64 upper[PARTS], before = 0;
    for (i64 value = 0; value < 1 << 16; value++) {
      if (!(value & ((1 << (16 - PART_BITS)) - 1))) upper[value >> (16 - PART_BITS)] = before;
      before += counts[band << 16 | value];
      filled[value] = 0;
    }
    for (i64 i = 0; i < count; i++) {
      const u16 *bands = (const u16 *)(codes + 4 * members[i]);
      u64 value = bands[band], next = bands[(band + 1) & 15];
      entries[upper[value >> (16 - PART_BITS)]++] = value << 48 | next << 32 | (u32)members[i];
    }
    for (i64 i = 0; i < count; i++) {
      i64 value = (i64)(entries[i] >> 48), list = band << 16 | value, at = filled[value]++;
      u16 *slot = slots + lanes * list;
      if (slot[0] == RUN) {
        i64 place = lanes * ((const u32 *)slot)[1] + at / (lanes - 1) * lanes + at % (lanes - 1) + 1;
        box_rows[place] = (u32)entries[i];
        boxes[place] = (u16)(entries[i] >> 32);
      } else {
        rows[starts[list] + at] = (u32)entries[i];
        slot[at + 1] = (u16)(entries[i] >> 32);
      }
    }
  }
}

typedef struct {
  const u8 *stored;  /* pictures one after the other: a head each, then their corners */
  const i64 *begins; /* (pictures + 1): their first corners */
  i64 pictures, head, corner, place; /* bytes of a head and of a corner, and of what comes before its descriptor */
} Corners;

FAST i64 key(const u8 *descriptor, i64 shift) {
  return ((i64)descriptor[0] << 16 | (i64)descriptor[1] << 8 | descriptor[2]) >> shift;
}

/* The corners that a table lists, two of every four, by the key that is `bits` of the three bytes from `from` on of
   their descriptors: `order` are their numbers among those listed, of `width` bytes each, and `starts` (2^bits + 1) is
   where each key begins. Corners are spread by the upper bits of their keys first, so that what is counted and written
   at a time stays in the cache: a third of the time. `entries` has room for what is listed, `upper` (2^(bits - lower)),
   `filled` (2^bits). */
void optout_sort(const Corners *all, i64 table, i64 from, i64 bits, i64 lower, u64 *entries, i64 *upper, u32 *filled,
                 u32 *starts, u8 *order, i64 width) {
  i64 shift = 24 - bits, listed = 0;
  for (int step = 0; step < 2; step++) {
    const u8 *at = all->stored + all->place + from;
    listed = 0;
    for (i64 picture = 0; picture < all->pictures; picture++) {
      at += all->head;
      for (i64 number = all->begins[picture]; number < all->begins[picture + 1]; number++, at += all->corner) {
        if (((number - all->begins[0] + table) & 3) >= 2) continue;
        i64 found = key(at, shift);
        if (step)
          entries[upper[found >> lower]++] = (u64)found << 32 | (u64)listed;
        else
          upper[found >> lower]++;
        listed++;
      }
    }
    if (step) break;
    i64 before = 0;
    for (i64 part = 0; part < 1 << (bits - lower); part++) {
      i64 size = upper[part];
      upper[part] = before;
      before += size;
    }
  }
  for (i64 i = 0; i < listed; i++) filled[entries[i] >> 32]++;
  u32 before = 0;
  for (i64 value = 0; value < 1 << bits; value++) {
    starts[value] = before;
    before += filled[value];
    filled[value] = starts[value];
  }
  starts[1 << bits] = before;
  for (i64 i = 0; i < listed; i++) {
    u8 *place = order + width * (i64)filled[entries[i] >> 32]++;
    for (i64 byte = 0; byte < width; byte++) place[byte] = (u8)(entries[i] >> 8 * byte);
  }
}
