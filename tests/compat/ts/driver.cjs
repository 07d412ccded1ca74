// Makes calls with the real npm package `mem0ai` and prints what each gave, as JSON.
//
// usage: node driver.cjs PACKAGE_FOLDER < {"host", "key", "calls": [[label, method, arguments], ..]}
// An argument {"$": "label.path"} stands for what an earlier call gave.
"use strict";

const { createRequire } = require("node:module");
const path = require("node:path");

function resolved(value, given) {
  if (Array.isArray(value)) return value.map((each) => resolved(each, given));
  if (value === null || typeof value !== "object") return value;
  if (typeof value.$ === "string") {
    return value.$.split(".").reduce((at, key) => (at == null ? at : at[key]), given);
  }
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [key, resolved(each, given)]),
  );
}

function told(error) {
  const { name, message, errorCode, debugInfo } = error;
  return { name, message, errorCode, debugInfo };
}

async function main() {
  let input = "";
  for await (const chunk of process.stdin) input += chunk;
  const { host, key, calls } = JSON.parse(input);
  const load = createRequire(path.join(path.resolve(process.argv[2]), "package.json"));
  const { MemoryClient } = load("mem0ai");
  const client = new MemoryClient({ apiKey: key, host });
  const given = {};
  const answers = {};
  for (const [label, method, args] of calls) {
    try {
      const value = await client[method](...resolved(args, given));
      given[label] = value;
      answers[label] = { value: value === undefined ? null : value };
    } catch (error) {
      answers[label] = { error: told(error) };
    }
  }
  const methods = Object.getOwnPropertyNames(MemoryClient.prototype).filter(
    (name) => name !== "constructor" && !name.startsWith("_"),
  );
  process.stdout.write(JSON.stringify({ answers, methods }));
}

main().then(() => process.exit(0)); // telemetry's timers would keep it alive
