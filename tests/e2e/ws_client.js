// A device that uses npm `ws`, driven by lines of JSON: commands on stdin, events on stdout.
// node ws_client.js ws://127.0.0.1:7777/connect
"use strict";

const readline = require("node:readline");
const WebSocket = require("ws");

const socket = new WebSocket(process.argv[2]);
const tell = (event) => process.stdout.write(JSON.stringify(event) + "\n");

socket.on("open", () => tell({ event: "open" }));
socket.on("message", (data, isBinary) =>
  tell(isBinary ? { event: "binary", hex: data.toString("hex") } : { event: "text", text: data.toString("utf8") }),
);
socket.on("pong", (data) => tell({ event: "pong", hex: data.toString("hex") }));
socket.on("unexpected-response", (_, response) => {
  tell({ event: "refused", status: response.statusCode });
  process.exit(0);
});
socket.on("error", (error) => tell({ event: "error", message: error.message }));
socket.on("close", (code, reason) => {
  tell({ event: "close", code, reason: reason.toString("utf8") });
  process.exit(0);
});

const commands = {
  text: (command) => socket.send(command.text),
  binary: (command) => socket.send(Buffer.from(command.hex, "hex")),
  ping: (command) => socket.ping(Buffer.from(command.hex, "hex")),
  close: (command) => socket.close(command.code, command.reason),
};

const input = readline.createInterface({ input: process.stdin });
input.on("line", (line) => {
  const command = JSON.parse(line);
  commands[command.do](command);
});
input.on("close", () => socket.terminate());
