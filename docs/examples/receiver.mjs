// A receiver in Node's standard library: WEBHOOK_SECRET=… INBOX=inbox node receiver.mjs 9000
//
// INBOX is a directory. Each event is a file <job_id>.<sequence>.<state>.json, so the last of a job by name is where the
// job is, in whatever order its events came, and one that comes again is there already.
import { createHmac, timingSafeEqual } from "node:crypto";
import { closeSync, fsyncSync, linkSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";

const LARGEST_B = 16 * 2 ** 20;
const TOLERANCE_S = 300;

// The bytes that sign: what follows whsec_ decoded from Base64, else the text itself.
const key = (secret) =>
  secret.startsWith("whsec_") ? Buffer.from(secret.slice(6), "base64") : Buffer.from(secret);

// Several, separated by commas, while one is being replaced by another.
const keys = (process.env.WEBHOOK_SECRET ?? "").split(",").map((each) => each.trim()).filter(Boolean).map(key);
const inbox = process.env.INBOX;
if (keys.length === 0 || !inbox) throw new Error("set WEBHOOK_SECRET and INBOX");
mkdirSync(inbox, { recursive: true });

function same(given, wanted) {
  const [a, b] = [Buffer.from(given.trim()), Buffer.from(wanted)];
  return a.length === b.length && timingSafeEqual(a, b);
}

// What is wrong with a delivery; null: it is genuine.
function flaw(headers, body) {
  const id = headers["webhook-id"] ?? "";
  const seconds = headers["webhook-timestamp"] ?? "";
  const ofMessage = (each) => "v1," + createHmac("sha256", each).update(`${id}.${seconds}.`).update(body).digest("base64");
  const ofBody = (each) => "sha256=" + createHmac("sha256", each).update(body).digest("hex");
  const signed = (given, sign) => given.some((one) => keys.some((each) => same(one, sign(each))));
  if (!signed((headers["webhook-signature"] ?? "").split(" "), ofMessage)) return "webhook-signature is wrong";
  if (!signed((headers["x-foreman-signature"] ?? "").split(","), ofBody)) return "X-Foreman-Signature is wrong";
  if (!/^\d+$/.test(seconds) || Math.abs(Date.now() / 1000 - Number(seconds)) > TOLERANCE_S) {
    return "it is too old, or one of the clocks is wrong";
  }
  return null;
}

// Record an event; when this returns it is on disk. False: it was known already.
let written = 0;
function keep(event, body) {
  const name = `${event.job_id}.${String(event.sequence).padStart(3, "0")}.${event.state}.json`;
  const draft = join(inbox, `.${process.pid}-${written++}`);
  const file = openSync(draft, "wx");
  try {
    writeSync(file, body);
    fsyncSync(file);
    linkSync(draft, join(inbox, name)); // all of it at once, and not a second time
  } catch (error) {
    if (error.code === "EEXIST") return false;
    throw error;
  } finally {
    closeSync(file);
    rmSync(draft);
  }
  const directory = openSync(inbox, "r"); // the name has to be on disk as well
  fsyncSync(directory);
  closeSync(directory);
  return true;
}

// The status to answer.
function take(headers, body) {
  const wrong = flaw(headers, body);
  if (wrong !== null) {
    console.error("refused:", wrong);
    return 401;
  }
  const event = JSON.parse(body);
  if ("job_id" in event && keep(event, body)) console.log(event.id);
  return 204;
}

async function whole(request) {
  const pieces = [];
  let sizeB = 0;
  for await (const piece of request) {
    sizeB += piece.length;
    if (sizeB > LARGEST_B) return null;
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

const server = createServer(async (request, response) => {
  let status;
  try {
    const body = await whole(request);
    status = body === null ? 413 : take(request.headers, body);
  } catch (error) {
    console.error(error); // foreman will try again
    status = 500;
  }
  response.writeHead(status).end();
});
server.listen(Number(process.argv[2]), "127.0.0.1");
