// What the page does by itself: times as people say them, text as it is generated, and rest while nobody looks.
"use strict";

// Seconds, and what so many of them are called.
const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

function said(seconds) {
  const ahead = seconds < 0;
  const whole = Math.round(Math.abs(seconds));
  if (whole < 2) return "now";
  const [size, unit] = UNITS.find(([each]) => whole >= each);
  const amount = `${Math.floor(whole / size)} ${unit}`;
  return ahead ? `in ${amount}` : `${amount} ago`;
}

// Every <time> says how long ago it is, and the whole of it in the browser's own zone when pointed at.
function tellTimes(root) {
  for (const each of root.querySelectorAll("time[datetime]")) {
    const at = new Date(each.dateTime);
    const text = said((Date.now() - at) / 1000);
    if (each.textContent !== text) each.textContent = text;
    if (!each.title) each.title = at.toLocaleString();
  }
}

// The job's text, as the server sends it. All of it is text: nothing that a model says is ever markup.
function follow(live) {
  const answer = document.getElementById("live-answer");
  const thinking = document.getElementById("live-thinking");
  const note = document.getElementById("live-note");
  const source = new EventSource(live.dataset.events);
  let waiting = { answer: "", thinking: "" };

  function write() {
    for (const [box, text] of [[answer, waiting.answer], [thinking, waiting.thinking]]) {
      if (!text) continue;
      box.hidden = false;
      box.querySelector("pre").append(text);
    }
    if (waiting.answer || waiting.thinking) note.hidden = true;
    waiting = { answer: "", thinking: "" };
  }

  function begin(text) {
    waiting = { answer: "", thinking: "" };
    for (const box of [answer, thinking]) {
      box.hidden = true;
      box.querySelector("pre").textContent = "";
    }
    say(text);
  }

  function say(text) {
    note.textContent = text;
    note.hidden = false;
  }

  source.addEventListener("text", (event) => {
    const message = JSON.parse(event.data).message || {};
    if (!waiting.answer && !waiting.thinking) requestAnimationFrame(write);
    waiting.answer += message.content || "";
    waiting.thinking += message.thinking || "";
    if (message.tool_calls) waiting.answer += JSON.stringify(message.tool_calls, null, 2);
  });
  source.addEventListener("restart", () => begin("The run failed, and the next one begins anew."));
  source.addEventListener("gap", () => say("Some of the text is missing here. It will be whole once the job is done."));
  source.addEventListener("error", () => {
    // Refused, and not only broken off: the browser does not try again.
    if (source.readyState === EventSource.CLOSED) say("The text cannot be followed now. Load the page again to try.");
  });
  source.addEventListener("state", (event) => {
    const { state } = JSON.parse(event.data);
    if (state === "loading") say("The model is being loaded.");
    if (state === "working" && answer.hidden) say("The model is at work.");
    htmx.trigger("#piece", "refresh");
    if (state !== "done" && state !== "failed") return;
    source.close();
    write();
    if (answer.hidden && thinking.hidden) say(state === "done" ? "The answer is empty." : "There is no result.");
  });
}

document.addEventListener("htmx:beforeRequest", (event) => {
  // Nobody looks: the next turn asks again.
  if (document.hidden) event.preventDefault();
});
document.addEventListener("htmx:responseError", (event) => {
  // The sign-in is over, or the job is gone: the whole page says so.
  if ([401, 403, 404, 410].includes(event.detail.xhr.status)) location.reload();
});
let opened = new Map();
document.addEventListener("htmx:beforeSwap", () => {
  opened = new Map([...document.querySelectorAll("details[id]")].map((each) => [each.id, each.open]));
});
document.addEventListener("htmx:afterSettle", () => {
  // What somebody has opened or closed stays so.
  for (const [id, open] of opened) {
    const found = document.getElementById(id);
    if (found) found.open = open;
  }
  tellTimes(document);
});

tellTimes(document);
setInterval(() => tellTimes(document), 1000);
const live = document.getElementById("live");
if (live) follow(live);
