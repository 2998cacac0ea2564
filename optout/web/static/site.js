// Comfort for the public site. Every page works without it.
"use strict";

document.documentElement.classList.add("script");

// A screen reader should start at what went wrong.
document.querySelector("[data-focus]")?.focus();

const form = document.getElementById("upload-form");
if (form) {
  const MAX_BYTES = 25_000_000;
  const say = form.dataset; // the sentences, in the page's language
  const file = document.getElementById("file");
  const drop = document.getElementById("drop");
  const error = document.getElementById("file-error");
  const preview = document.getElementById("preview");
  const button = form.querySelector("button");
  const sending = document.getElementById("sending");
  const bar = document.getElementById("sent");
  const status = document.getElementById("upload-status");

  const complain = (sentence) => {
    error.textContent = sentence;
    error.hidden = !sentence;
    drop.classList.toggle("wrong", Boolean(sentence));
    if (sentence) file.setAttribute("aria-invalid", "true"); else file.removeAttribute("aria-invalid");
  };

  const problem = (chosen) => {
    if (!chosen) return say.sayChoose;
    if (chosen.size === 0) return say.sayEmpty;
    if (chosen.size > MAX_BYTES) return say.sayTooLarge;
    if (/\.hei[cf]$/i.test(chosen.name)) return say.sayHeic;
    return "";
  };

  // Drawn on a canvas: the page may load pictures from nowhere but the site and its storage.
  const show = async (chosen) => {
    preview.hidden = true;
    try {
      const picture = await createImageBitmap(chosen);
      const scale = Math.min(1, 1024 / Math.max(picture.width, picture.height));
      preview.width = Math.max(1, Math.round(picture.width * scale));
      preview.height = Math.max(1, Math.round(picture.height * scale));
      preview.getContext("2d").drawImage(picture, 0, 0, preview.width, preview.height);
      picture.close();
      preview.hidden = false;
    } catch {
      // A format that this browser cannot show; we may still be able to open it.
    }
  };

  const chose = () => {
    const chosen = file.files[0];
    complain(chosen ? problem(chosen) : "");
    if (chosen) show(chosen); else preview.hidden = true;
  };
  file.addEventListener("change", chose);

  for (const name of ["dragenter", "dragover"]) {
    drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  for (const name of ["dragleave", "drop"]) {
    drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.remove("over"); });
  }
  // A photo dropped beside the field must not replace the page.
  for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());
  drop.addEventListener("drop", (event) => {
    const dropped = event.dataTransfer.files;
    if (!dropped.length) return;
    const first = new DataTransfer();
    first.items.add(dropped[0]);
    file.files = first.files;
    chose();
  });

  const busy = (yes) => {
    sending.hidden = !yes;
    button.hidden = yes;
    file.disabled = yes;
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const sentence = problem(file.files[0]);
    complain(sentence);
    if (sentence) { file.focus(); return; }

    const data = new FormData(form);
    const upload = new XMLHttpRequest();
    let arrived = false;
    let started = false;
    upload.upload.addEventListener("progress", (progress) => {
      started = true;
      if (progress.lengthComputable) bar.value = Math.round(100 * progress.loaded / progress.total);
    });
    upload.upload.addEventListener("load", () => {
      arrived = true;
      bar.removeAttribute("value");
      status.textContent = say.sayArrived;
    });
    upload.addEventListener("loadend", () => {
      if (upload.status >= 400) {
        // The storage says only two things to an honest form: the ticket's time is over, or the size is not right.
        const again = new URL(form.dataset.again, location.href);
        again.searchParams.set("problem", upload.status === 403 ? "ticket_expired" : "too_large");
        location.assign(again);
      } else if (arrived) {
        // The storage answered with a redirect, which a script may not follow to the end. The page goes there itself.
        location.assign(form.dataset.next);
      } else if (started || !navigator.onLine) {
        // The refused redirect can come before word that all was sent, and then it looks like a lost connection. What
        // arrived, the server knows; if it cannot be asked, the connection is lost.
        fetch(form.dataset.again).then(() => location.assign(form.dataset.next), () => {
          busy(false);
          status.textContent = "";
          complain(say.sayLost);
        });
      } else {
        busy(false);
        HTMLFormElement.prototype.submit.call(form); // scripts may not send from here; a plain form may
      }
    });
    upload.open("POST", form.action);
    upload.send(data);
    bar.value = 0;
    busy(true);
  });
}
