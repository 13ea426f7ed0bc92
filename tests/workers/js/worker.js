// A worker on nats.js; ../README.md says what it answers.
import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { connect, headers } from "@nats-io/transport-node";

const [url, name] = process.argv.slice(2);
const connection = await connect({ servers: url });

function report(request) {
  const lines = [];
  for (const [key, values] of request.headers ?? []) {
    lines.push(...values.map((value) => [key, value]));
  }
  const text = JSON.stringify({
    subject: request.subject,
    headers: lines,
    length: request.data.length,
    sha256: createHash("sha256").update(request.data).digest("hex"),
  });
  console.log(text);
  return text;
}

function block(lines) {
  const made = headers();
  for (const [key, value] of lines) {
    made.append(key, value);
  }
  return made;
}

async function replyAsAsked(request) {
  for (const wanted of request.json()) {
    await sleep(wanted.afterMs ?? 0);
    const body = wanted.size ? Uint8Array.from({ length: wanted.size }, (_, i) => i * 7) : wanted.body;
    connection.publish(request.reply + (wanted.suffix ?? ""), body, {
      headers: wanted.headers && block(wanted.headers),
      reply: wanted.replyTo,
    });
  }
}

async function answer(request) {
  switch (request.subject.split(".")[1]) {
    case "report":
      request.respond(report(request));
      break;
    case "reply":
      try {
        await replyAsAsked(request);
      } catch (error) {
        request.respond(error.message, { headers: block([["Metropolis-Status", "500"], ["X-Refused", "1"]]) });
      }
      break;
    case "respond":
      request.respond("ok");
      break;
  }
}

connection.subscribe(`${name}.>`, {
  queue: "worker",
  callback: (error, request) => (error ? console.error(error) : answer(request)),
});
process.on("SIGTERM", () => connection.drain());
const error = await connection.closed();
if (error) {
  throw error;
}
