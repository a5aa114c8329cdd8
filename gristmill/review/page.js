"use strict";
// What was written by models and people goes into the page as textContent only.
const KEYS = {
  1: "left", ArrowLeft: "left", 2: "right", ArrowRight: "right", t: "tie", b: "both_bad", s: "skip",
};
const NAMES = {
  left: "left", right: "right", tie: "tie", both_bad: "both bad", skip: "skipped", written: "your answer",
};
const place = (id) => document.getElementById(id);
let item = null;
let shownAt = 0;
let waiting = false;

async function call(path, body, saved) {
  if (waiting) return;
  waiting = true;
  try {
    const request = body === undefined
      ? {}
      : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
    const response = await fetch(path, request);
    const state = await response.json();
    if (!("total" in state)) throw new Error(`the server answered ${response.status}`);
    if (response.status !== 422) show(state);
    place("problem").textContent = response.ok ? "" : state.problem;
    place("status").textContent = response.ok && saved ? `${saved} ${state.judged} of ${state.total} judged.` : "";
  } catch (error) {
    place("status").textContent = "";
    place("problem").textContent =
      `Not saved (${error.message}). Nothing before this is lost: start the server again and open its new address.`;
  } finally {
    waiting = false;
  }
}

function show(state) {
  place("progress").textContent = `${state.judged} of ${state.total} judged, by ${state.reviewer}`;
  place("bar").max = Math.max(1, state.total);
  place("bar").value = state.judged;
  place("assignment").textContent = state.assignment;
  place("undo").disabled = state.judged === 0;
  place("item").hidden = state.item === null;
  place("done").hidden = state.item !== null;
  const isAnother = item === null || state.item === null || item.id !== state.item.id;
  item = state.item;
  if (item === null || !isAnother) return;
  place("prompt").replaceChildren(...item.prompt.flatMap(turn));
  place("left").textContent = item.left || "(empty)";
  place("right").textContent = item.right || "(empty)";
  place("remark").value = "";
  place("written").value = "";
  shownAt = performance.now();
  place("asked").focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

function turn(message) {
  const text = document.createElement("div");
  text.className = "text";
  text.dir = "auto";
  text.textContent = message.content;
  if (item.prompt.length === 1) return [text];
  const role = document.createElement("h3");
  role.textContent = message.role;
  return [role, text];
}

function judge(verdict) {
  if (item === null) return;
  const written = place("written").value;
  if (verdict === "written" && !written.trim()) {
    place("problem").textContent = "Write the better answer first.";
    place("written").focus();
    return;
  }
  if (verdict !== "written" && written.trim()) {
    place("problem").textContent = "There is a written answer: send it with Ctrl+Enter, or clear it first.";
    place("written").focus();
    return;
  }
  call("judgement", {
    item: item.id,
    verdict,
    written: verdict === "written" ? written : null,
    remark: place("remark").value.trim() || null,
    seconds: Math.round(performance.now() - shownAt) / 1000,
  }, `Saved: ${NAMES[verdict]}.`);
}

function undo() {
  call("undo", {}, "Undone; judge it again.");
}

document.addEventListener("keydown", (event) => {
  if (event.repeat || event.isComposing) return;
  if (event.target instanceof HTMLTextAreaElement) {
    if (event.key === "Escape") place("asked").focus();
    else if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.id === "written") judge("written");
    else return;
    event.preventDefault();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key in KEYS) judge(KEYS[key]);
  else if (key === "u") undo();
  else if (item !== null && key === "r") place("remark").focus();
  else if (item !== null && key === "w") place("written").focus();
  else return;
  event.preventDefault();
});

for (const button of document.querySelectorAll("button[data-verdict]")) {
  button.addEventListener("click", () => judge(button.dataset.verdict));
}
place("undo").addEventListener("click", undo);
call("next", undefined, "");
