// A device that offers subprotocols, and one line of JSON about what came of it: opened, selected, the first message.
// node offer_subprotocols.js ws://127.0.0.1:7777/topics/news ws|undici json v2.json
"use strict";

const { writeSync } = require("node:fs");

const [url, client, ...offers] = process.argv.slice(2);
const Client = client === "ws" ? require("ws") : globalThis.WebSocket;
const socket = new Client(url, offers);
const outcome = { opened: false };

socket.onopen = () => Object.assign(outcome, { opened: true, selected: socket.protocol });
socket.onmessage = (event) => {
  outcome.got = event.data;
  process.exit(0);
};
// One that was not opened has an error and, unless it is the built-in one of Node 20, a close behind it.
socket.onerror = () => {};
process.on("exit", () => writeSync(1, JSON.stringify(outcome) + "\n"));
