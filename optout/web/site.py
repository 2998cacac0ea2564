"""The public site: what each page of `functions/submit` does and shows.

Every function is one use case: what came in -> one call of the store -> a page, or a redirect to one. GET changes
nothing, because mail scanners and browsers open links on their own.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any

from aws_lambda_powertools.event_handler import Response

from optout import deadlines, hashed, http, languages, limits, links, proof_of_work, settings
from optout.errors import (
    AlreadyConfirmed,
    AppealClosed,
    DraftIncomplete,
    RequestInvalid,
    RequestNotFound,
    StateConflict,
    TooManyPhotos,
    TooManyRequests,
)
from optout.languages import gettext as _
from optout.likeness import alike, disagreeing
from optout.limits import Action
from optout.requests import (
    OPEN,
    TRANSITIONS,
    Kind,
    Lane,
    OptOutRequest,
    Photo,
    Relation,
    Status,
    Step,
    copies_of,
    missing,
    new_request_id,
)
from optout.store import Photos, Requests
from optout.web import forms, wording
from optout.web.countries import countries

# PDQ says nothing about pictures below this quality (its reference's own limit); `exclusions_for` leaves them out too.
PLAIN_BELOW_QUALITY = 50

# How long the confirmation shows a report's only link: long enough to copy it, short enough for a shared computer.
LINK_SHOWN = timedelta(minutes=30)

Fields = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Site:
    """The public pages over one store."""

    requests: Requests
    photos: Photos

    @classmethod
    def from_settings(cls) -> Site:
        """The site of this deployment."""
        return cls(Requests.from_settings(), Photos.from_settings())

    # ---- the form

    def new(self, fields: Fields, source: str, now: datetime) -> Response[Any]:
        """Start a draft from a filled-in form that came from this IP address, or show the form again with what is not
        right."""
        kind, lane = kind_of(fields.get("kind", [""])[0]), lane_of(fields.get("lane", [""])[0])
        if kind is None:
            return http.see_other("/")
        if kind not in lane.kinds:
            return http.see_other(f"/urgent?about={lane}")
        try:
            limits.take(Action.DRAFT, source, now)
        except TooManyRequests as refused:
            return form_page(kind, lane, forms.typed(fields), {}, None, refused)
        return self._answers(kind, lane, fields, None, now)

    def change(self, draft_id: str, fields: Fields, now: datetime) -> Response[Any]:
        """Replace the answers of a draft."""
        draft = self.requests.get(draft_id, now)
        if draft.sent or draft.adds_to:  # before anything is said about the answers
            raise AlreadyConfirmed
        return self._answers(draft.kind, draft.lane, fields, draft.id, now)

    def _answers(self, kind: Kind, lane: Lane, fields: Fields, draft_id: str | None, now: datetime) -> Response[Any]:
        filled = forms.typed(fields)
        try:
            answers = forms.read(kind, filled, settings.engine_name(), lane)
        except RequestInvalid as invalid:
            return form_page(kind, lane, filled, invalid.problems, draft_id)
        # Reports without an address are of as many people: neither related cases nor limits may take them for one.
        email_hash = links.email_hash(answers.email or new_request_id(), settings.link_secret())
        if draft_id is None:
            language = languages.spoken()
            draft = self.requests.create_draft(
                kind, answers, email_hash, now, language=language, lane=lane, suspected=forms.suspected(fields)
            )
            complete = not draft.takes_uploads  # else the photo page comes next, also where a photo is optional
        else:
            draft = self.requests.edit_draft(draft_id, answers, email_hash, now, suspected=forms.suspected(fields))
            complete = not missing(draft, self.requests.photos(draft.id))
        onward = f"/opt-out/{draft.id}/{'check' if complete else 'photos'}"
        repeated = forms.repeated_lines(filled["links"])[:_MAX_REPEATED] if kind is Kind.LINKS else []
        return http.see_other(onward + (f"?repeated={'.'.join(map(str, repeated))}" if repeated else ""))

    def edit(self, draft_id: str, now: datetime) -> Response[Any]:
        """The form with the draft's answers in it."""
        draft = self.requests.get(draft_id, now)
        if draft.sent:
            return http.see_other(f"/opt-out/{draft.id}/done")
        if draft.adds_to:
            return http.see_other(f"/opt-out/{draft.id}/photos")
        return form_page(draft.kind, draft.lane, forms.typed_from(draft.answers), {}, draft.id)

    # ---- photos

    def photos_page(self, draft_id: str, query: Mapping[str, str], source: str, now: datetime) -> Response[Any]:
        """The draft's photos with what was seen on them, and a ticket for one more, to whoever asks from this IP
        address."""
        draft = self.requests.get(draft_id, now)
        if draft.sent:
            return http.see_other(f"/opt-out/{draft.id}/done")
        if not draft.takes_uploads:
            return http.see_other(f"/opt-out/{draft.id}/check")
        photos = self.requests.photos(draft.id)
        if draft.takes_codes and _by_code(query, photos):
            return self._codes_page(draft, photos, query, now)
        before = self._before(draft)
        lacks = lacking(draft, photos)
        room = self.requests.room(draft, now) - len(photos)
        upload = None
        if room > 0:
            limits.take(Action.UPLOAD, source, now)
            pages = f"{settings.site_url()}/opt-out/{draft.id}/photos"
            upload = self.photos.ticket(draft.id, pages, languages.wish())
        problem = query.get("problem", "")
        summary = [("upload", wording.PHOTO_PROBLEMS[problem])] if problem in wording.PHOTO_PROBLEMS else []
        if problem in {"face", "crop"}:
            summary = [(target, sentence) for target, sentence in lacks if target.startswith("photo-")]
        if problem == "incomplete":
            summary = lacks
        seen = [self._seen(draft, photo) for photo in photos]
        storage = origins(seen) | ({http.origin(upload.url)} if upload else set())
        return http.page(
            "photos.html",
            policy=http.content_security_policy(sorted(storage)),
            draft=draft.id,
            kind=draft.kind.value,
            for_other=draft.answers.represented is not None,
            photos=seen,
            upload=upload,
            ready=not lacks,
            missing=lacks,
            summary=summary,
            repeated=repeated_links(query),
            disagree=wording.photos_disagree(disagreeing(photos)) if draft.kind is Kind.FACE else "",
            adding=draft.adds_to is not None,
            stranger=draft.kind is Kind.FACE and alike(photos, before) is False,
            problems=wording.PHOTO_PROBLEMS,
            takes_codes=draft.takes_codes,
            **leaving(draft.lane),
        )

    def _codes_page(
        self, draft: OptOutRequest, photos: Sequence[Photo], query: Mapping[str, str], now: datetime
    ) -> Response[Any]:
        """The page on which a picture's codes are computed. Its policy lets no script send anything anywhere."""
        lacks = lacking(draft, photos)
        return http.page(
            "codes.html",
            policy=http.content_security_policy(quiet=True),
            draft=draft.id,
            photos=photos,
            room=self.requests.room(draft, now) > len(photos),
            ready=not lacks,
            summary=[("codes-tool", words) for _, words in lacks] if query.get("problem") == "incomplete" else [],
            adding=draft.adds_to is not None,
            **leaving(draft.lane),
        )

    def add_codes(self, draft_id: str, fields: Fields, now: datetime) -> Response[Any]:
        """Add a picture of which only the codes come; whether the draft takes such, its record decides."""
        photo = hashed.read(fields)
        self.requests.add_photo(draft_id, photo, now)
        return http.see_other(f"/opt-out/{draft_id}/photos#photo-{photo.ticket}")

    def _before(self, draft: OptOutRequest) -> list[Photo]:
        """The photos that are in the case already, where a draft adds to one."""
        return self.requests.photos(draft.home) if draft.adds_to else []

    def choose_face(self, draft_id: str, ticket: str, fields: Fields, now: datetime) -> Response[Any]:
        """Mark which face of a photo is the requester's."""
        number = fields.get("face", [""])[0]
        here = f"/opt-out/{draft_id}/photos"
        if not (number.isascii() and number.isdigit() and len(number) < 4):
            return http.see_other(here + "?problem=face")
        try:
            self.requests.choose_face(draft_id, ticket, int(number), now)
        except RequestInvalid:
            return http.see_other(here + "?problem=face")
        return http.see_other(f"{here}#photo-{ticket}")

    def choose_crop(self, draft_id: str, ticket: str, fields: Fields, now: datetime) -> Response[Any]:
        """Use the part of a photo that was proposed, or keep the whole; the copy of the other one goes."""
        use = fields.get("use", [""])[0]
        if use not in {"cropped", "whole"}:
            return http.see_other(f"/opt-out/{draft_id}/photos?problem=crop")
        before = self.requests.choose_crop(draft_id, ticket, now, cropped=use == "cropped")
        self._discard(self.requests.get(draft_id, now), [before])
        return http.see_other(f"/opt-out/{draft_id}/photos#photo-{ticket}")

    def remove_photo(self, draft_id: str, ticket: str, now: datetime) -> Response[Any]:
        """Take a photo out of the draft, and its copies out of the bucket."""
        before = [photo for photo in self.requests.photos(draft_id) if photo.ticket == ticket]
        draft = self.requests.remove_photo(draft_id, ticket, now)
        self._discard(draft, before)
        return http.see_other(f"/opt-out/{draft_id}/photos")

    def _discard(self, draft: OptOutRequest, before: Sequence[Photo]) -> None:
        """Delete the copies of these photos that no photo needs any more: the same may be there twice."""
        for unused in copies_of(before) - copies_of([*self.requests.photos(draft.id), *self._before(draft)]):
            self.photos.discard_copy(draft.home, unused)

    def _seen(self, draft: OptOutRequest, photo: Photo) -> dict[str, Any]:
        seen = seen_on(photo, self.photos.view_url(draft.home, photo.picture) if photo.picture else "")
        if photo.proposed is not None:
            seen["part_url"] = self.photos.view_url(draft.home, photo.proposed.picture)
            seen["part_shown"] = _fitted(photo.proposed.width, photo.proposed.height)
        return seen

    # ---- sending it

    def check_page(self, draft_id: str, query: Mapping[str, str], now: datetime) -> Response[Any]:
        """All answers once more before they are sent."""
        draft = self.requests.get(draft_id, now)
        if draft.sent:
            return http.see_other(f"/opt-out/{draft.id}/done")
        photos = self.requests.photos(draft.id)
        if missing(draft, photos):
            return http.see_other(f"/opt-out/{draft.id}/photos")
        seen = [self._seen(draft, photo) for photo in photos]
        due = deadlines.due(draft.kind, draft.answers.country, now, urgent=draft.lane.urgent)
        return http.page(
            "check.html",
            policy=http.content_security_policy(sorted(origins(seen))),
            draft=draft.id,
            kind=draft.kind.value,
            rows=consent_rows(draft) if draft.adds_to else answer_rows(draft),
            adding=draft.adds_to is not None,
            photos=seen,
            used=sum(photo.own_face is not None for photo in photos),
            due=due,
            country=draft.answers.country,
            due_rule=wording.due_rule(due.rule),
            repeated=repeated_links(query),
            takes_uploads=draft.takes_uploads,
            anonymous=draft.anonymous,
            challenge=proof_of_work.challenge(
                draft.id, draft.created_at + deadlines.DRAFT_LIFETIME, settings.link_secret()
            )
            if draft.adds_to is None  # whoever adds to a case has its mailed link
            else "",
            unverified_days=deadlines.UNVERIFIED_KEPT.days,
            **leaving(draft.lane),
        )

    def confirm(self, draft_id: str, fields: Fields, now: datetime) -> Response[Any]:
        """Send the request, or the photos to be added to one. Sending it twice is sending it once. Without a proof of
        work it is sent all the same, and waits for its address to be verified."""
        proven = proof_of_work.proves(fields.get("proof", [""])[0], draft_id, *settings.link_secrets())
        try:
            draft = self.requests.get(draft_id, now)
            if not draft.sent and draft.adds_to is None:  # only then a letter goes out
                limits.take_of_mailbox(Action.CONFIRM, draft.email_hash, now)
            self.requests.confirm(draft_id, now, language=languages.spoken(), proven=proven)
        except DraftIncomplete:
            return http.see_other(f"/opt-out/{draft_id}/photos?problem=incomplete")
        except TooManyPhotos:
            return http.see_other(f"/opt-out/{draft_id}/photos?problem=too_many_photos")
        return http.see_other(f"/opt-out/{draft_id}/done")

    def done_page(self, draft_id: str, now: datetime) -> Response[Any]:
        """Case number and what happens next."""
        request = self.requests.get(draft_id, now)
        if not request.sent:
            return http.see_other(f"/opt-out/{request.id}/check")
        added = request.adds_to is not None
        if added:
            request = self.requests.get(request.home, now)
        return http.page(
            "done.html",
            request=request,
            added=added,
            provisional=settings.provisional(),
            due_rule=wording.due_rule(request.due_rule or ""),
            sentence=standing(request),
            confirm_by=confirm_by(request),
            status_url=self._only_link(request, now),
            **leaving(request.lane),
        )

    def _only_link(self, request: OptOutRequest, now: datetime) -> str:
        """The link to the case of somebody whom no letter can bring it, for as long as the confirmation shows it."""
        if not request.anonymous or request.confirmed_at is None or now - request.confirmed_at > LINK_SHOWN:
            return ""
        path = http.to(f"/status/{links.status_token(request, settings.link_secret())}")
        return http.origin(settings.site_url()) + path

    # ---- afterwards

    def _linked(self, token: str, now: datetime) -> OptOutRequest:
        """The case that a mailed link belongs to. Raises `LinkInvalid`, `LinkExpired` or `RequestNotFound`."""
        return self._current(*links.read_status_token(token, *settings.link_secrets()), now)

    def _current(self, request_id: str, link_version: int, now: datetime) -> OptOutRequest:
        request = self.requests.get(http.secret_id(request_id), now)
        if request.status is Status.DRAFT:
            raise RequestNotFound
        links.require_current(request, link_version)
        return request

    def verify_page(self, token: str, now: datetime) -> Response[Any]:
        """Ask for the one press of a button that verifies an address; say so when it has been done."""
        request = self._of_letter(token, now)
        return http.page(
            "verify.html",
            request=request,
            token=token,
            provisional=settings.provisional(),
            held=held(request),
            confirm_by=confirm_by(request),
            status_token=links.status_token(request, settings.link_secret()),
            due_rule=wording.due_rule(request.due_rule or ""),
        )

    def verify(self, token: str, now: datetime) -> Response[Any]:
        """Verify the address that the letter with this link went to."""
        self.requests.verify(self._of_letter(token, now).id, now, provisional=settings.provisional())
        return http.see_other(f"/verify/{token}")

    def _of_letter(self, token: str, now: datetime) -> OptOutRequest:
        """The case whose address a mailed link verifies. Raises as `_linked`, and `VerificationExpired`."""
        return self._current(*links.read_verification_token(token, *settings.link_secrets()), now)

    def send_again(self, token: str, now: datetime) -> Response[Any]:
        """Send the first letter again, to the same address."""
        case = self._linked(token, now)
        limits.take_of_mailbox(Action.LETTER, case.email_hash, now)
        self.requests.send_again(case.id, now)
        return http.see_other(f"/status/{token}")

    def status_page(self, token: str, now: datetime) -> Response[Any]:
        """Where a case stands and how it came there."""
        request = self._linked(token, now)
        reason, words = why(request)
        return http.page(
            "status.html",
            request=request,
            token=token,
            kind_label=wording.KINDS[request.kind],
            status_label=languages.gettext(wording.WAITING_FOR_ADDRESS)
            if request.waits_for_address
            else wording.STATUSES[request.status],
            sentence=standing(request),
            confirm_by=confirm_by(request),
            due_rule=wording.due_rule(request.due_rule or ""),
            reason=reason,
            words=words,
            covers=wording.covers(request),
            appeal_until=deadlines.appeal_until(request),
            now=now,
            can_tell=request.takes_messages and request.question is None,
            after_appeal=wording.reason(Step.UPHOLD, request.upheld.reason) if request.upheld else "",
            more_time=wording.reason(Step.EXTEND, request.extension.reason) if request.extension else "",
            timeline=[
                (wording.TIMELINE[event.name], event.at, event.text or "")
                for event in self.requests.history(request.id)
                if event.name in wording.TIMELINE
            ],
            can_withdraw=(Step.WITHDRAW, request.status) in TRANSITIONS,
            can_add=request.takes_photos,
            can_test=request.tests_pictures,
            provisional=settings.provisional(),
            held=held(request),
            can_send_again=request.may_send_again(now),
        )

    def appeal_page(
        self, token: str, now: datetime, filled: str = "", problem: str = "", refused: TooManyRequests | None = None
    ) -> Response[Any]:
        """Ask why the decision is wrong; or say what became of an appeal, or why none can be made any more."""
        request = self._linked(token, now)
        if request.appealed_at is None and request.upheld is None and deadlines.appeal_until(request) is None:
            return http.see_other(f"/status/{token}")
        reason, words = why(request)
        return questions(
            "appeal.html",
            {"appeal": filled},
            {"appeal": problem} if problem else {},
            refused,
            request=request,
            token=token,
            reason=reason,
            words=words,
            until=deadlines.appeal_until(request),
            now=now,
            due_rule=wording.due_rule(request.due_rule or ""),
            page_in_other_languages=f"/status/{token}/appeal",
        )

    def appeal(self, token: str, fields: Fields, source: str, now: datetime) -> Response[Any]:
        """Appeal, from this IP address, against the decision that stands. Appealing twice is appealing once."""
        request = self._linked(token, now)
        text, problem = forms.words(fields, "appeal")
        try:
            limits.take(Action.WRITE, source, now)
        except TooManyRequests as refused:
            return self.appeal_page(token, now, text, refused=refused)
        if problem and request.appealed_at is None:
            return self.appeal_page(token, now, text, problem)
        with suppress(AppealClosed):  # the page says until when it was possible, and what else is
            self.requests.appeal(request.id, text, now)
        return http.see_other(f"/status/{token}/appeal")

    def information_page(
        self,
        token: str,
        now: datetime,
        filled: str = "",
        problem: str = "",
        refused: TooManyRequests | None = None,
        *,
        told: bool = False,
    ) -> Response[Any]:
        """Ask for what the requester wants to add, or for the answer to our question; `told` says that it has come."""
        request = self._linked(token, now)
        if not told and not request.takes_messages:
            return http.see_other(f"/status/{token}")
        return questions(
            "information.html",
            {"information": filled},
            {"information": problem} if problem else {},
            refused,
            request=request,
            token=token,
            told=told,
            can_add=request.takes_photos,
            page_in_other_languages=f"/status/{token}/information",
            due_rule=wording.due_rule(request.due_rule or ""),
        )

    def inform(self, token: str, fields: Fields, source: str, now: datetime) -> Response[Any]:
        """Add what the requester has to say, from this IP address, to their case."""
        request = self._linked(token, now)
        text, problem = forms.words(fields, "information")
        try:
            limits.take(Action.WRITE, source, now)
        except TooManyRequests as refused:
            return self.information_page(token, now, text, refused=refused)
        if problem and request.takes_messages:
            return self.information_page(token, now, text, problem)
        self.requests.inform(request.id, text, now)
        return http.see_other(f"/status/{token}/information?told=yes")

    def add_photos(self, token: str, now: datetime) -> Response[Any]:
        """Begin to add photos to the case that a mailed link belongs to."""
        try:
            draft = self.requests.begin_addition(self._linked(token, now), now)
        except StateConflict:
            return http.see_other(f"/status/{token}")
        return http.see_other(f"/opt-out/{draft.id}/photos")

    def begin_test(self, token: str, now: datetime) -> Response[Any]:
        """Begin to test pictures against the case that a mailed link belongs to."""
        try:
            test = self.requests.begin_test(self._linked(token, now), now)
        except StateConflict:
            return http.see_other(f"/status/{token}")
        return http.see_other(f"/test/{test}")

    def test_page(self, test_id: str, query: Mapping[str, str], now: datetime) -> Response[Any]:
        """Ask for a picture to test. `functions/examine` answers."""
        case = self.requests.tested_case(test_id, now)
        upload = self.photos.ticket(test_id, f"{settings.site_url()}/test/{test_id}", languages.wish())
        problem = query.get("problem", "")
        problems = {**wording.PHOTO_PROBLEMS, **wording.TEST_PROBLEMS}
        return http.page(
            "test.html",
            policy=http.content_security_policy([http.origin(upload.url)]),
            kind=case.kind.value,
            number=case.number,
            test=test_id,
            upload=upload,
            status_token=links.status_token(case, settings.link_secret()),
            problems=problems,
            summary=[("upload", problems[problem])] if problem in problems else [],
        )

    def withdraw_page(self, token: str, now: datetime) -> Response[Any]:
        """Ask before withdrawing; say so when it has been done."""
        request = self._linked(token, now)
        if request.status is Status.WITHDRAWN:
            return http.page(
                "withdrawn.html",
                request=request,
                token=token,
                photos_kept_days=deadlines.WITHDRAWN_PHOTOS_KEPT.days,
            )
        if (Step.WITHDRAW, request.status) not in TRANSITIONS:
            return http.see_other(f"/status/{token}")
        return http.page("withdraw.html", request=request, token=token)

    def withdraw(self, token: str, now: datetime) -> Response[Any]:
        """Withdraw the case that a mailed link belongs to."""
        self.requests.withdraw(self._linked(token, now).id, now)
        return http.see_other(f"/status/{token}/withdraw")


# --- pages that need no store -----------------------------------------------------------------------------------------


def start_page() -> Response[Any]:
    """The question that leads to the right form."""
    return http.page("start.html")


def empty_form(kind_name: str, lane_name: str) -> Response[Any]:
    """The form of one kind in one lane; without a kind, the question."""
    kind, lane = kind_of(kind_name), lane_of(lane_name)
    if kind is None:
        return http.see_other("/")
    if kind not in lane.kinds:
        return http.see_other(f"/urgent?about={lane}")
    return form_page(kind, lane, forms.typed({}), {}, None)


def form_page(
    kind: Kind,
    lane: Lane,
    filled: Mapping[str, str],
    problems: Mapping[str, str],
    draft_id: str | None,
    refused: TooManyRequests | None = None,
) -> Response[Any]:
    """The form with what was typed, and in words what is not right with it, or why it was not taken just now."""
    return questions(
        "form.html",
        filled,
        problems,
        refused,
        page_in_other_languages=f"/opt-out/{draft_id}" if draft_id else f"/opt-out?kind={kind}&lane={lane}",
        kind=kind.value,
        lane=lane.value,
        takes_uploads=lane.takes_uploads(kind),
        draft=draft_id,
        countries=countries(),
        consent=wording.biometric_consent(settings.engine_name()),
        relations={
            relation.value: wording.RELATIONS[relation] for relation in Relation if relation is not Relation.SELF
        },
        **leaving(lane),
    )


def leaving(lane: Lane) -> dict[str, Any]:
    """What a page of an urgent lane needs for its button that leaves at once; nothing in the ordinary one."""
    return {"exit_url": settings.exit_url()} if lane.urgent else {}


def privacy_page() -> Response[Any]:
    """What is stored, and how long."""
    return http.page(
        "privacy.html",
        draft_hours=round(deadlines.DRAFT_LIFETIME.total_seconds() / 3600),
        appeal_days=deadlines.APPEAL_WINDOW.days,
        withdrawn_days=deadlines.WITHDRAWN_PHOTOS_KEPT.days,
        case_years=deadlines.CASE_KEPT.days // 365,
        unverified_days=deadlines.UNVERIFIED_KEPT.days,
    )


def help_page() -> Response[Any]:
    """Whom to write to, and answers to what people ask."""
    return http.page("help.html", heic=_(wording.HEIC_ADVICE), appeal_days=deadlines.APPEAL_WINDOW.days)


def accessibility_page() -> Response[Any]:
    """How usable the site is for everybody, and whom to tell where it is not."""
    return http.page("accessibility.html")


# htmx is not in the repository; set-up puts it there, and without it only the console is less comfortable.
STATIC_FILES = frozenset(
    (
        "site.css",
        "site.js",
        "exit.js",
        "pdq.js",
        "proof.js",
        "icon.svg",
        "console.css",
        "console.js",
        "vendor/htmx.min.js",
    )
)


def static_file(name: str) -> Response[Any]:
    """One of our style sheets, scripts or icons. Raises `RequestNotFound`, a 404, for anything else."""
    path = files("optout").joinpath("web", "static", name)
    if name not in STATIC_FILES or not path.is_file():
        raise RequestNotFound
    content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    # The address changes with the content (`http.static_url`), so a browser may keep it for good.
    return Response(
        200,
        f"{content_type}; charset=utf-8",
        path.read_text(encoding="utf-8"),
        {"Cache-Control": "public, max-age=31536000, immutable"},
    )


# --- what pages show --------------------------------------------------------------------------------------------------


def questions(
    template: str,
    filled: Mapping[str, str],
    problems: Mapping[str, str],
    refused: TooManyRequests | None,
    **values: Any,
) -> Response[Any]:
    """A page of questions, with what was typed, and in words what is not right with it (`problems`: field to code), or
    why it was not taken just now."""
    sentences = {field: wording.form_problem(field, code) for field, code in problems.items()}
    page = http.page(
        template,
        429 if refused else 400 if problems else 200,
        filled=filled,
        problems=sentences,
        summary=[("", http.sentence(refused))] if refused else list(sentences.items()),
        **values,
    )
    if refused:
        page.headers["Retry-After"] = str(refused.retry_after_s)
    return page


def held(request: OptOutRequest) -> str:
    """Whether an open case is held back; empty when there is nothing to say."""
    if request.status not in OPEN:
        return ""
    if request.hold is not None:
        return wording.HELD[request.kind]
    return wording.UNHELD[request.unheld] if request.unheld else ""


def lane_of(name: str) -> Lane:
    """The lane with this name; the ordinary one without."""
    return Lane(name) if name in list(Lane) else Lane.ORDINARY


def standing(request: OptOutRequest) -> str:
    """Where a case stands, in a sentence."""
    if request.waits_for_address:
        return languages.gettext(wording.WAITS_FOR_ADDRESS)
    return wording.STATUS_SENTENCES[request.status]


def confirm_by(request: OptOutRequest) -> datetime | None:
    """Until when the address must be verified for a case to be looked at; None when it need not be."""
    if not request.waits_for_address or request.confirmed_at is None:
        return None
    return request.confirmed_at + deadlines.UNVERIFIED_KEPT


def kind_of(name: str) -> Kind | None:
    """The kind with this name, if any."""
    return Kind(name) if name in list(Kind) else None


def lacking(draft: OptOutRequest, photos: Sequence[Photo]) -> list[tuple[str, str]]:
    """What a draft lacks, as (id of the place on the photo page or empty, sentence)."""
    lacks: list[tuple[str, str]] = []
    for code in missing(draft, photos):
        name, _, ticket = code.partition(":")
        if ticket:
            number = [photo.ticket for photo in photos].index(ticket) + 1
            lacks.append((f"photo-{ticket}", wording.missing_of_photo(name, number)))
        else:
            lacks.append(("upload" if name in {"photo", "usable_face"} else "", wording.MISSING[name]))
    return lacks


# More line numbers than these would not be read.
_MAX_REPEATED = 30
_LINE_NUMBERS = re.compile(rf"[0-9]{{1,5}}(\.[0-9]{{1,5}}){{0,{_MAX_REPEATED - 1}}}")


def repeated_links(query: Mapping[str, str]) -> str:
    """The sentence about lines that repeated a link; the query holds their numbers, as in `3.7`."""
    sent = query.get("repeated", "")
    if not _LINE_NUMBERS.fullmatch(sent):
        return ""
    return wording.repeated([int(part) for part in sent.split(".")])


# Pixels of the photo page that a picture fills at most.
_SHOWN_WIDTH, _SHOWN_HEIGHT = 640, 384


def _fitted(width: int, height: int) -> tuple[int, int]:
    """Width and height of a picture on the page, in its own proportions. Said before it has come, so that nothing moves
    when it does."""
    scale = min(1.0, _SHOWN_WIDTH / width, _SHOWN_HEIGHT / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def origins(seen: Iterable[Mapping[str, Any]]) -> set[str]:
    """Where the pictures that a page shows come from; those that came by code only come from nowhere."""
    return {http.origin(photo["url"]) for photo in seen if photo["url"]}


def _by_code(query: Mapping[str, str], photos: Sequence[Photo]) -> bool:
    """Whether to show the page that computes codes: by choice, or where no upload was begun."""
    if query.get("by") in {"code", "upload"}:
        return query["by"] == "code"
    return query.get("problem", "") in {"", "incomplete"} and all(photo.picture is None for photo in photos)


def seen_on(photo: Photo, url: str) -> dict[str, Any]:
    """What the photo page draws: the picture, its faces in the picture's own pixels, and where their numbers go. `url`
    is empty where only the picture's codes came."""
    badge = max(10, round(max(photo.width, photo.height) / 32))
    faces = None
    if photo.faces is not None:
        faces = []
        for index, face in enumerate(photo.faces):
            x, y, width, height = face.box
            # A face with half its size around it, so that people recognise themselves.
            view = (x - width / 2, y - height / 2, width * 2, height * 2)
            faces.append(
                {
                    "x": x,
                    "y": y,
                    "width": width,
                    "height": height,
                    "corner": round(min(width, height) / 12),
                    "badge_x": min(max(x, badge), photo.width - badge),
                    "badge_y": min(max(y, badge), photo.height - badge),
                    "view": " ".join(f"{side:g}" for side in view),
                    "chosen": photo.chosen_face == index,
                }
            )
    return {
        "ticket": photo.ticket,
        "url": url,
        "width": photo.width,
        "height": photo.height,
        "shown": _fitted(photo.width, photo.height),
        "badge": badge,
        "faces": faces,
        "problem": wording.FACE_PROBLEMS.get(photo.face_problem or ""),
        "advice": wording.FACE_ADVICE.get(photo.face_problem or ""),
        "chosen": None if photo.chosen_face is None else photo.chosen_face + 1,
        "plain": photo.quality < PLAIN_BELOW_QUALITY,
        "proposed": photo.proposed,
        "cropped": photo.cropped,
    }


def answer_rows(draft: OptOutRequest) -> list[tuple[str, str | tuple[str, ...], str]]:
    """Question, answer and where to change it, for the check page."""
    answers = draft.answers
    rows: list[tuple[str, str | tuple[str, ...], str]] = [(_("What should go"), wording.KINDS[draft.kind], "")]
    if draft.kind is Kind.LINKS:
        rows.append((_("Links"), answers.links, "#links"))
    rows.append((_("Why"), answers.explanation, "#explanation"))
    if draft.lane is not Lane.ABUSE:
        rows.append((_("Who do you ask for?"), wording.asked_for(answers), "#on_behalf_of"))
    rows += [
        (_("Name"), f"{answers.first_name} {answers.last_name}".strip() or _("Not given"), "#first_name"),
        (_("Email address"), answers.email or _("Not given"), "#email"),
        (_("Phone number"), answers.phone or _("Not given"), "#phone"),
        (_("Country"), countries()[answers.country] if answers.country else _("Not given"), "#country"),
    ]
    if draft.kind is Kind.FACE:
        rows.append((_("Consent"), answers.biometric_consent or _("Not given"), "#biometric_consent"))
    if draft.kind is Kind.LINKS:
        rows.append((_("Statement"), _("What I say is accurate and complete."), "#good_faith"))
    return rows


def consent_rows(draft: OptOutRequest) -> list[tuple[str, str | tuple[str, ...], str]]:
    """What the requester agreed to before, for the check page of photos that are added to a case about a face."""
    if draft.kind is not Kind.FACE:
        return []
    return [(_("You agreed, and it holds for these photos too"), draft.answers.biometric_consent or "", "")]


def why(request: OptOutRequest) -> tuple[str, str]:
    """Reason and own words of the decision that holds, or of the revocation that took it back."""
    if request.status is Status.REVOKED and request.revocation:
        return wording.reason(Step.REVOKE, request.revocation.reason), request.revocation.text
    if request.status in {Status.ACCEPTED, Status.REJECTED} and request.decision:
        return wording.reason(request.decision.step, request.decision.reason), request.decision.text
    return "", ""
