// The reviewers' console: signs in with Cognito (code + PKCE), fetches fragments with the token, and keeps what a
// reviewer has typed until it is recorded. htmx swaps the fragments; the address after # says which one is shown.
"use strict";

(() => {
  const { base, clientId, loginUrl, redirectUri } = document.body.dataset;
  const main = document.getElementById("main");
  const refusal = document.getElementById("refusal");
  const signedInParts = document.querySelectorAll(".bar .search, .bar .who, .views");
  const busy = document.querySelector("[data-busy]");
  const welcome = main.innerHTML; // the static page's own words, before any case was shown

  // --- signing in ----------------------------------------------------------------------------------------------------

  // The ID token lives as long as the tab. There is no refresh token here: after an hour the sign-in page is asked
  // again, which lets a reviewer with a live session straight through.
  const session = {
    get token() { return sessionStorage.getItem("console.token"); },
    start(token) { sessionStorage.setItem("console.token", token); },
    end() { sessionStorage.removeItem("console.token"); },
  };

  const base64url = (bytes) =>
    btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));

  const claims = (token) => {
    const part = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(part), (letter) => letter.charCodeAt(0))));
  };

  async function signIn() {
    const attempt = { state: random(), verifier: random(), page: location.hash };
    sessionStorage.setItem("console.attempt", JSON.stringify(attempt));
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(attempt.verifier));
    location.assign(`${loginUrl}/oauth2/authorize?` + new URLSearchParams({
      response_type: "code",
      client_id: clientId,
      redirect_uri: redirectUri,
      scope: "openid",
      state: attempt.state,
      code_challenge: base64url(new Uint8Array(digest)),
      code_challenge_method: "S256",
    }));
  }

  // The way back from the sign-in page: trade the code for the token. Says what went wrong, or null.
  async function comeBack() {
    const answer = new URLSearchParams(location.search);
    const attempt = JSON.parse(sessionStorage.getItem("console.attempt") ?? "null");
    sessionStorage.removeItem("console.attempt");
    const back = attempt?.page ?? "";
    history.replaceState(null, "", location.pathname + back); // the code stays neither in the bar nor in the history
    if (answer.has("error")) return "You were not signed in.";
    if (!attempt || answer.get("state") !== attempt.state) return "This sign-in was not started here. Please sign in again.";
    const response = await fetch(`${loginUrl}/oauth2/token`, {
      method: "POST",
      body: new URLSearchParams({
        grant_type: "authorization_code",
        client_id: clientId,
        redirect_uri: redirectUri,
        code: answer.get("code"),
        code_verifier: attempt.verifier,
      }),
    }).catch(() => null);
    if (!response?.ok) return "The sign-in did not work. Please try again.";
    session.start((await response.json()).id_token);
    return null;
  }

  function signOut() {
    // What was typed or shown is gone from this tab, too.
    sessionStorage.clear();
    location.assign(`${loginUrl}/logout?` + new URLSearchParams({ client_id: clientId, logout_uri: redirectUri }));
  }

  function showWelcome(problem) {
    session.end();
    main.innerHTML = welcome;
    if (problem) main.querySelector("[data-welcome-text]").textContent = problem;
    for (const part of signedInParts) part.hidden = true;
  }

  // --- what is shown -------------------------------------------------------------------------------------------------

  const page = () => {
    const wanted = location.hash.slice(1);
    return /^\/(requests|reviews|exclusions)(?=$|[/?])/.test(wanted) ? wanted : "/requests?view=pending";
  };

  function show() {
    if (!session.token) return showWelcome();
    const { "cognito:username": name, email } = claims(session.token);
    document.querySelector("[data-name]").textContent = name ?? email ?? "";
    for (const part of signedInParts) part.hidden = false;
    refusal.replaceChildren();
    return htmx.ajax("GET", base + page(), { target: "#main", swap: "innerHTML" });
  }

  function mark(view) {
    for (const link of document.querySelectorAll("[data-views] a")) {
      const its = new URLSearchParams(link.hash.split("?")[1] ?? "").get("view") ?? link.hash.slice(2);
      link.toggleAttribute("aria-current", false);
      if (its === view) link.setAttribute("aria-current", "page");
    }
  }

  function say(text) {
    const box = document.createElement("div");
    box.className = "refusal";
    const line = document.createElement("p");
    line.textContent = text;
    box.append(line);
    refusal.replaceChildren(box);
  }

  // --- what was typed ------------------------------------------------------------------------------------------------

  const key = (form) => `console.typed.${form.dataset.keep}`;

  function keep(form) {
    const { reason, text } = Object.fromEntries(new FormData(form));
    sessionStorage.setItem(key(form), JSON.stringify({ reason, text }));
  }

  function restore(form) {
    const typed = JSON.parse(sessionStorage.getItem(key(form)) ?? "null");
    if (!typed) return;
    form.elements.text.value = typed.text ?? "";
    for (const choice of form.querySelectorAll("[name=reason]")) choice.checked = choice.value === typed.reason;
    form.closest("details").open = true;
  }

  // --- events --------------------------------------------------------------------------------------------------------

  const blurred = new WeakMap(); // a photo's place -> what was there before it was shown

  document.addEventListener("htmx:configRequest", (event) => {
    event.detail.headers.Authorization = session.token ?? "";
    event.detail.headers.Accept = "text/html"; // htmx names none, and programs get JSON
    busy.textContent = "Loading…";
  });

  document.addEventListener("htmx:afterRequest", () => { busy.textContent = ""; });

  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, target, requestConfig } = event.detail;
    // An expired token: sign in again; what was typed is kept and comes back with the case.
    if (xhr.status === 401) {
      event.detail.shouldSwap = false;
      session.end();
      signIn();
      return;
    }
    // A whole page or JSON is not one of our fragments: it is from the gateway, or an accident.
    const ours = (xhr.getResponseHeader("Content-Type") ?? "").startsWith("text/html") && !/^\s*<!doctype/i.test(xhr.responseText);
    if (event.detail.isError && !(ours && event.detail.shouldSwap)) {
      event.detail.shouldSwap = false;
      say(xhr.status === 429 ? "Too many requests just now. Please try again in a moment."
        : "Something went wrong on our side. It is safe to press again: the same decision is recorded only once.");
      return;
    }
    if (event.detail.isError) return;
    refusal.replaceChildren();
    if (target.classList.contains("picture")) blurred.set(target, target.firstElementChild.cloneNode(true));
    const form = requestConfig.elt;
    if (form.dataset?.keep && requestConfig.verb === "post") sessionStorage.removeItem(key(form));
  });

  document.addEventListener("htmx:sendError", () => {
    say("We could not be reached. It is safe to press again: the same decision is recorded only once.");
  });
  document.addEventListener("htmx:timeout", () => {
    say("No answer in time. It is safe to press again: the same decision is recorded only once.");
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target === main) {
      mark(main.querySelector("[data-view]")?.dataset.view);
      main.querySelectorAll("form[data-keep]").forEach(restore);
      const next = main.querySelector("[data-next]"); // after an answer, the next possible copy
      (next ?? main.querySelector("h1"))?.focus({ preventScroll: true });
      scrollTo(0, 0);
    } else if (event.detail.target.classList.contains("picture")) {
      event.detail.target.querySelector("[data-hide]")?.focus({ preventScroll: true });
    }
  });

  document.addEventListener("input", (event) => {
    const form = event.target.closest("form[data-keep]");
    if (form) keep(form);
  });

  document.addEventListener("click", (event) => {
    const on = (name) => event.target.closest(`[data-${name}]`);
    if (on("sign-in")) signIn();
    else if (on("sign-out")) signOut();
    else if (on("reload")) show();
    else if (on("dismiss")) refusal.replaceChildren();
    else if (on("candidate")) showCandidate(on("candidate"));
    else if (on("hide")) {
      const place = event.target.closest(".picture");
      place.replaceChildren(blurred.get(place));
      htmx.process(place);
      place.querySelector("button").focus({ preventScroll: true });
    } else if (on("skip")) {
      event.preventDefault(); // the address after # is the page that is shown
      main.focus();
    }
  });

  // What a crawler found, from the engine's own address; it is told nothing about where it is looked at.
  function showCandidate(button) {
    const place = button.closest(".picture");
    blurred.set(place, button.cloneNode(true));
    const image = document.createElement("img");
    Object.assign(image, { referrerPolicy: "no-referrer", alt: "The picture that a crawler found", src: button.dataset.candidate });
    image.dataset.found = "";
    const frame = document.createElement("div");
    frame.className = "frame";
    frame.append(image);
    const under = document.createElement("p");
    under.className = "under";
    const hide = document.createElement("button");
    Object.assign(hide, { type: "button", className: "quiet", textContent: "Hide what was found" });
    hide.dataset.hide = "";
    under.append(hide);
    place.replaceChildren(frame, under);
    hide.focus({ preventScroll: true });
  }

  // A key answers for the possible copy that is being looked at, and only when what was found is shown there.
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || event.target.matches("input, textarea")) return;
    const review = document.activeElement?.closest(".review");
    if (!review?.querySelector("img[data-found]")) return;
    review.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`)?.click();
  });

  document.addEventListener("submit", (event) => {
    const form = event.target.closest("form[data-search]");
    if (!form) return;
    event.preventDefault();
    const number = form.elements.number.value.trim();
    const where = form.dataset.search === "exclusions" ? "/exclusions" : "/requests";
    if (number) location.hash = `${where}?${new URLSearchParams({ number })}`;
  });

  // Images do not bubble their errors; capture them.
  document.addEventListener("error", (event) => {
    if (event.target instanceof HTMLImageElement && event.target.matches("[data-photo]"))
      say("The photo could not be loaded. Hide it and show it again; it may have been deleted since.");
    if (event.target instanceof HTMLImageElement && event.target.matches("[data-found]"))
      say("What was found could not be loaded. The engine may no longer have it; then leave it unanswered.");
  }, true);

  addEventListener("hashchange", show);

  (async () => {
    const answer = new URLSearchParams(location.search);
    const problem = answer.has("code") || answer.has("error") ? await comeBack() : null;
    if (problem) showWelcome(problem);
    else await show();
  })();
})();
