"""The whole way in one language: form, upload through S3, letter, and the page behind the letter's link."""

from __future__ import annotations

import re

from local.actors import HTML, Requester, expect, forms, text_of
from local.running import Running
from optout.languages import gettext as _
from optout.languages import speaking
from optout.requests import Status
from optout.web import wording
from tests.pictures import picture


def test_who_asks_in_arabic_is_answered_in_arabic_to_the_end(running: Running) -> None:
    person = Requester(running, "layla@people.example", language="ar").begin("image")
    # From here the language is in the address, and S3 brings it back beside its own query.
    page = person.page("photos?lang=ar")
    assert '<html lang="ar" dir="rtl">' in page
    upload = next(form for form in forms(page) if form.enctype == "multipart/form-data")
    back = expect(person.post_photo(upload, picture("astronaut.png")), 303, "S3 takes the photo").headers["location"]
    assert "?lang=ar&" in back
    with running.http(headers=HTML) as client:  # this browser has no wish
        looked = expect(client.get(back), 303, "the photo is looked at")
        assert re.search(r"/photos\?lang=ar#photo-", looked.headers["location"])
        number = person.confirm()
        letter = person.letter(1)
        found = re.search(r"https?://\S+/status/\S+", text_of(letter))
        assert found is not None
        status = expect(client.get(found[0]), 200, "the status page opens")
    html = letter.get_body(("html",))
    assert html is not None
    with speaking("ar"):
        assert str(letter["Subject"]) == _("We received your request %(number)s") % {"number": number}
        assert wording.STATUSES[Status.PENDING] in status.text
    assert status.headers["content-language"] == "ar"
    assert '<html lang="ar" dir="rtl">' in html.get_content()
    assert '<html lang="ar" dir="rtl">' in status.text
