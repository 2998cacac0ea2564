// Works for a second while the person reads (ALTCHA's protocol, version 2), so that programs cannot send thousands of
// requests for nothing. Without this script the request is sent all the same, and the letter's link confirms it.
"use strict";

const form = document.querySelector("form[data-challenge]");
if (form && globalThis.crypto?.subtle) {
  // Longer than this nobody waits after the button was pressed: then the letter's link takes the proof's place.
  const PATIENCE_MS = 20_000;
  const hex = (bytes) => Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const unhex = (text) => Uint8Array.from(text.match(/../g), (pair) => parseInt(pair, 16));

  // The browser computes keys beside the page, on a thread of its own, so nothing here can make the page stutter.
  const solve = async (challenge) => {
    const { nonce, salt, cost, keyLength, keyPrefix } = challenge.parameters;
    const start = unhex(nonce);
    const password = new Uint8Array(start.length + 4);
    password.set(start);
    const how = { name: "PBKDF2", hash: "SHA-256", salt: unhex(salt), iterations: cost };
    for (let counter = 0; ; counter += 1) {
      new DataView(password.buffer).setUint32(start.length, counter);
      const key = await crypto.subtle.importKey("raw", password, "PBKDF2", false, ["deriveBits"]);
      const derivedKey = hex(await crypto.subtle.deriveBits(how, key, 8 * keyLength));
      if (derivedKey.startsWith(keyPrefix)) return btoa(JSON.stringify({ challenge, solution: { counter, derivedKey } }));
    }
  };

  const field = form.elements.namedItem("proof");
  const working = solve(JSON.parse(form.dataset.challenge)).then((proof) => { field.value = proof; }, () => {});
  const done = working.then(() => { form.dataset.ready = ""; });

  form.addEventListener("submit", (event) => {
    if ("ready" in form.dataset) return;
    event.preventDefault();
    if ("sending" in form.dataset) return;
    form.dataset.sending = "";
    document.getElementById("sending").textContent = form.dataset.sayWait;
    const enough = new Promise((resolve) => { setTimeout(resolve, PATIENCE_MS); });
    Promise.race([done, enough]).then(() => HTMLFormElement.prototype.submit.call(form));
  });
}
