/* The searches of index.py over the same arrays: what is found is the same, only sooner.

   Plain C without any library. Memory is what a search waits for, so whatever it will read is asked for ahead: while one
   query's blocks are compared, those of the next are on their way, and where the lists of the one after it are. Next
   bands are compared sixteen at a time in vectors, of which the compiler makes AVX2, SSE2 or NEON; on x86-64 the
   processor is asked for AVX2 when the search starts. */

#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t i64;
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
  const i64 *heads;         /* (16 * 65536): first block << 24 | number of blocks */
  const u16 *following;     /* blocks of next bands */
  const i64 *first_blocks;  /* of the lists in the base */
  const u32 *starts, *rows; /* the same lists without blocks */
  i64 listings;
  const u32 *tail_rows; /* block by block */
  i64 base_blocks, bits; /* a block has 1 << bits entries */
  const Crowd *crowds;
  i64 crowd_count;
} Index;

enum { PROBES = 272, PASSED = 256, MEMBERS = 256, FEW = 4 };

typedef struct {
  const u64 *queries; /* (count, 4) */
  i64 count, radius;
  i64 *witnesses; /* (count): a row, or -1 */
  i64 *hits;      /* (room, 3): query, row, distance; null when one witness of each is enough */
  i64 room, found;
  const u16 *masks;  /* what a band may differ by in a list that is looked up */
  const u8 *allowed; /* and what the next band may then */
  i64 mask_count;
} Search;

typedef struct {
  i64 list, place; /* the place among the entries of all blocks */
} Passed;

/* Some of the lists that one query looks up, and what passed there. */
typedef struct {
  i64 query, probes, passed;
  i64 lists[PROBES], heads[PROBES];
  u16 next[PROBES], most[PROBES];
  Passed places[PASSED];
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

/* First step: which lists. */
FAST void choose(const Index *index, const Search *search, Part *part, i64 query, i64 first) {
  const u16 *bands = (const u16 *)(search->queries + 4 * query);
  i64 left = 16 * search->mask_count - first, band = first / search->mask_count, mask = first % search->mask_count;
  part->query = query;
  part->passed = 0;
  part->probes = over(search, query) ? 0 : left < PROBES ? left : PROBES;
  for (i64 i = 0; i < part->probes; i++) {
    part->lists[i] = band << 16 | (u16)(bands[band] ^ search->masks[mask]);
    part->next[i] = bands[(band + 1) & 15];
    part->most[i] = search->allowed[mask];
    __builtin_prefetch(index->heads + part->lists[i]);
    if (++mask == search->mask_count) mask = 0, band++;
  }
}

/* Second step: where their blocks are. */
FAST void locate(const Index *index, Part *part) {
  for (i64 i = 0; i < part->probes; i++) {
    i64 head = part->heads[i] = index->heads[part->lists[i]];
    i64 place = head >> 24 << index->bits, end = place + ((head & 0xffffff) << index->bits);
    if (place == end) continue;
    /* Further ahead the processor sees by itself where a long list goes on. */
    if (end > place + 128) end = place + 128;
    for (; place < end; place += 32) __builtin_prefetch(index->following + place);
    __builtin_prefetch(index->following + end - 1);
  }
}

/* Where the row of an entry is written. */
FAST const u32 *row_of(const Index *index, const Passed *passed) {
  i64 tail = index->base_blocks << index->bits;
  if (passed->place >= tail) return index->tail_rows + (passed->place - tail);
  i64 at = passed->place - (index->first_blocks[passed->list] << index->bits) + index->starts[passed->list];
  /* What fills up the last block of a list names rows of the next ones: candidates like any others. */
  return index->rows + (at < index->listings ? at : index->listings - 1);
}

/* Fourth step: the rows of what passed, their codes, and the answer. */
FAST void settle(const Index *index, Search *search, Part *part) {
  const u32 *from[PASSED];
  i64 rows[PASSED];
  if (over(search, part->query)) part->passed = 0;
  for (i64 i = 0; i < part->passed; i++) __builtin_prefetch(from[i] = row_of(index, part->places + i));
  for (i64 i = 0; i < part->passed; i++) __builtin_prefetch(code(index, rows[i] = *from[i]));
  for (i64 i = 0; i < part->passed; i++) measure(index, search, part->query, rows[i]);
  part->passed = 0;
}

FAST void pass(const Index *index, Part *part, i64 list, i64 place) {
  part->places[part->passed++] = (Passed){list, place};
  __builtin_prefetch(index->first_blocks + list);
  __builtin_prefetch(index->starts + list);
}

/* Third step: which entries pass by their next band. */
FAST void compare(const Index *index, Search *search, Part *part) {
  const u64 each = 0x0001000100010001ULL;
  if (over(search, part->query)) return;
  for (i64 i = 0; i < part->probes; i++) {
    i64 list = part->lists[i], head = part->heads[i];
    i64 place = head >> 24 << index->bits, end = place + ((head & 0xffffff) << index->bits);
    while (place < end) {
      if (part->passed > PASSED - 16) settle(index, search, part);
      if (end - place >= 16) {
        sixteen x;
        __builtin_memcpy(&x, index->following + place, sizeof x);
        x ^= part->next[i];
        x -= x >> 1 & 0x5555;
        x = (x & 0x3333) + (x >> 2 & 0x3333);
        x = (x + (x >> 4)) & 0x0f0f;
        x = (x + (x >> 8)) & 0x00ff;
        quarters near = (quarters)(x <= part->most[i]);
        if (near[0] | near[1] | near[2] | near[3])
          for (int quarter = 0; quarter < 4; quarter++)
            for (u64 which = near[quarter] & 0x8000 * each; which; which &= which - 1)
              pass(index, part, list, place + 4 * quarter + (__builtin_ctzll(which) >> 4));
        place += 16;
      } else {
        u64 x;
        __builtin_memcpy(&x, index->following + place, sizeof x);
        x ^= part->next[i] * each;
        x -= x >> 1 & 0x5555 * each;
        x = (x & 0x3333 * each) + (x >> 2 & 0x3333 * each);
        x = (x + (x >> 4)) & 0x0f0f * each;
        x = (x + (x >> 8)) & 0x00ff * each;
        for (u64 which = ~(x + (0x7fff - part->most[i]) * each) & 0x8000 * each; which; which &= which - 1)
          pass(index, part, list, place + (__builtin_ctzll(which) >> 4));
        place += 4;
      }
    }
  }
}

FAST void look_up(const Index *index, Search *search) {
  Part ring[4];
  i64 each = (16 * search->mask_count + PROBES - 1) / PROBES, parts = search->count * each;
  for (i64 step = 0; step < parts + 3; step++) {
    if (step < parts) choose(index, search, ring + (step & 3), step / each, step % each * PROBES);
    if (step >= 1 && step < parts + 1) locate(index, ring + ((step - 1) & 3));
    if (step >= 2 && step < parts + 2) compare(index, search, ring + ((step - 2) & 3));
    if (step >= 3) settle(index, search, ring + ((step - 3) & 3));
  }
}

/* Members of a crowd: `_Crowd.around`. */
FAST void look_around(const Index *index, Search *search, i64 query, const Crowd *crowd) {
  const u64 *words = search->queries + 4 * query;
  i64 away = distance(words, crowd->centre), radius = search->radius;
  i64 place = crowd->begins[away > radius ? away - radius : 0];
  i64 end = crowd->begins[(away + radius < 256 ? away + radius : 256) + 1];
  u32 others[8], left[MEMBERS];
  int order[8];
  for (int i = 0; i < 8; i++) {
    u32 bits = (u32)((words[i / 2] ^ crowd->centre[i / 2]) >> 32 * (i & 1));
    int at = i;
    others[i] = ~bits;
    for (; at && __builtin_popcount(bits) < __builtin_popcount(~others[order[at - 1]]); at--) order[at] = order[at - 1];
    order[at] = i;
  }
  while (place < end && !over(search, query)) {
    i64 some = end - place < MEMBERS ? end - place : MEMBERS;
    i64 most = (crowd->distances[place + some - 1] + radius - away) >> 1;
    int counted = most > FEW;
    if (!counted) {
      for (int n = 0; n < 4; n++) {
        const u32 *part = crowd->parts + order[n] * crowd->members + place;
        u32 other = others[order[n]];
        for (i64 i = 0; i < some; i++) left[i] = (n ? left[i] : 0) | (part[i] & other);
      }
      for (; most; most--)
        for (i64 i = 0; i < some; i++) left[i] &= left[i] - 1;
    }
    for (i64 i = 0; i < some && !over(search, query); i++) {
      if (!counted && left[i]) continue;
      /* All bits are counted here, in order, before a code is read somewhere in memory. */
      i64 more = 0;
      for (int n = 0; n < 8; n++) more += __builtin_popcount(crowd->parts[n * crowd->members + place + i] & others[n]);
      if (2 * more <= crowd->distances[place + i] + radius - away)
        measure(index, search, query, crowd->rows[place + i]);
    }
    place += some;
  }
}

FAST void search_all(const Index *index, Search *search) {
  for (i64 query = 0; query < search->count; query++) {
    search->witnesses[query] = -1;
    if (search->mask_count)
      for (i64 i = 0; i < index->crowd_count && !over(search, query); i++)
        look_around(index, search, query, index->crowds + i);
    else
      for (i64 row = 0; row < index->end && !over(search, query); row++) measure(index, search, query, row);
  }
  if (search->mask_count) look_up(index, search);
}

#if defined(__x86_64__)
#include <cpuid.h>

/* Whether processor and system know AVX2. The compilers' own question needs a library that not every one of them has. */
static int knows_avx2(void) {
  unsigned a, b, c, d, low, high;
  if (!__get_cpuid(1, &a, &b, &c, &d) || ~c & (1u << 23 | 1u << 27)) return 0; /* popcnt, xgetbv */
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low & 6) != 6) return 0; /* the system saves the long registers */
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && b & 1u << 5 && b & 1u << 3;
}

__attribute__((target("avx2,popcnt,bmi"))) static void search_with_avx2(const Index *index, Search *search) {
  search_all(index, search);
}
#endif

static void search_with_any(const Index *index, Search *search) { search_all(index, search); }

/* Searches for each of the queries (count, 4) what is within the radius: a row of each goes to `witnesses`, or -1.
   With `hits` (room, 3) everything found goes there, maybe more than once; returns how much there is, and what is beyond
   the room is not written. `masks` are what a band may differ by, `allowed` what the next band may then; without any, all
   codes are compared. `plain` keeps to what every processor has. */
i64 optout_search(const Index *index, const u64 *queries, i64 count, i64 radius, const u16 *masks, const u8 *allowed,
                  i64 mask_count, i64 *witnesses, i64 *hits, i64 room, int plain) {
  Search search = {queries, count, radius, witnesses, hits, room, 0, masks, allowed, mask_count};
#if defined(__x86_64__)
  if (!plain && knows_avx2()) {
    search_with_avx2(index, &search);
    return search.found;
  }
#endif
  (void)plain;
  search_with_any(index, &search);
  return search.found;
}

/* --- what searches read, made -------------------------------------------------------------------------------------

   The tables of index.py and keypoint_index.py: what NumPy makes of the same, number for number. Everything that is
   counted in comes as zeros. */

enum { PART_BITS = 6, PARTS = 1 << PART_BITS };

/* How many of the members (count, rows of codes) have each value in each band. */
void optout_count(const u64 *codes, const i64 *members, i64 count, u32 *counts) {
  for (i64 i = 0; i < count; i++) {
    const u16 *bands = (const u16 *)(codes + 4 * members[i]);
    for (i64 band = 0; band < 16; band++) counts[band << 16 | bands[band]]++;
  }
}

/* The members in their lists: their rows from `starts` on, their next bands from `first_blocks` on. In each band they are
   spread by the upper bits of their values first, so that what is written at a time stays in the cache: a fifth of the
   time. `entries` (count), `filled` (65536). */
void optout_list(const u64 *codes, const i64 *members, i64 count, const u32 *starts, const i64 *first_blocks, i64 bits,
                 u64 *entries, u32 *filled, u32 *rows, u16 *following) {
  for (i64 band = 0; band < 16; band++) {
    const u32 *own = starts + (band << 16);
    i64 upper[PARTS];
    for (i64 part = 0; part < PARTS; part++) upper[part] = own[part << (16 - PART_BITS)] - own[0];
    for (i64 i = 0; i < count; i++) {
      const u16 *bands = (const u16 *)(codes + 4 * members[i]);
      u64 value = bands[band], next = bands[(band + 1) & 15];
      entries[upper[value >> (16 - PART_BITS)]++] = value << 48 | next << 32 | (u32)members[i];
    }
    for (i64 value = 0; value < 1 << 16; value++) filled[value] = 0;
    for (i64 i = 0; i < count; i++) {
      i64 value = (i64)(entries[i] >> 48), at = filled[value]++;
      rows[own[value] + at] = (u32)entries[i];
      following[(first_blocks[band << 16 | value] << bits) + at] = (u16)(entries[i] >> 32);
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
