// What tools/serve/check runs. Every step throws where the server does something else than it should.
import assert from "node:assert/strict";
import net from "node:net";
import OpenAI from "openai";
import puppeteer from "puppeteer-core";

const [base, seconds = "10", clients = "64"] = process.argv.slice(2);
const url = new URL(base);
const ai = new OpenAI({ baseURL: base + "/v1", apiKey: process.env.SCRATCHMAMBA_API_KEY ?? "none", maxRetries: 0 });
const model = (await ai.models.list()).data[0].id;
const done = (text) => console.log("ok  " + text);

async function streamed(request) {
  let text = "", finish = null;
  for await (const chunk of await ai.completions.create({ model, ...request, stream: true })) {
    text += chunk.choices[0].text;
    finish = chunk.choices[0].finish_reason ?? finish;
  }
  assert.ok(finish === "length" || finish === "stop", "a stream ended without a reason");
  return text;
}

// OpenAI's package.
const greedy = { model, prompt: "public static ", max_tokens: 60, temperature: 0 };
const whole = await ai.completions.create({ ...greedy, logprobs: 3 });
assert.equal(whole.choices[0].text, await streamed(greedy));
assert.equal(whole.choices[0].logprobs.tokens.length, whole.usage.completion_tokens);
const talk = { model, messages: [{ role: "user", content: "Hello" }], max_tokens: 40, seed: 4 };
const chat = await ai.chat.completions.create({ ...talk, logprobs: true, top_logprobs: 2 });
let said = "";
for await (const chunk of await ai.chat.completions.create({ ...talk, stream: true })) said += chunk.choices[0]?.delta?.content ?? "";
assert.equal(said, chat.choices[0].message.content);
const runner = ai.chat.completions.stream(talk);
assert.equal(await runner.finalContent(), said);
await assert.rejects(ai.completions.create({ model: "another", prompt: "x" }), OpenAI.NotFoundError);
await assert.rejects(ai.completions.create({ model, prompt: "x", max_tokens: -1 }), OpenAI.BadRequestError);
done(`openai ${(await import("openai/version")).VERSION} completes, chats and streams`);

// A browser.
const browser = await puppeteer.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
for (const scheme of ["light", "dark"]) {
  const page = await browser.newPage();
  const faults = [];
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("console", (message) => message.type() === "error" && faults.push(message.text()));
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.goto(base + "/");
  await page.waitForFunction((name) => document.getElementById("model").textContent === name, {}, model);
  await page.$eval("#prompt", (box) => { box.value = "public static "; });
  await page.$eval("#temperature", (box) => { box.value = "0"; });
  await page.$eval("#tokens", (box) => { box.value = "60"; });
  await page.click("#go");
  await page.waitForFunction(() => document.getElementById("status").textContent.startsWith("60 tokens"));
  assert.equal(await page.$eval("#text", (box) => box.textContent), "public static " + whole.choices[0].text);
  await page.$eval("#tokens", (box) => { box.value = "4000"; });
  await page.click("#go");
  await page.waitForFunction(() => document.getElementById("text").textContent.length > 30);
  await page.click("#stop");
  await page.waitForFunction(() => document.getElementById("status").textContent === "stopped");
  await page.$eval("#tokens", (box) => { box.removeAttribute("min"); box.value = "-1"; });
  await page.click("#go");
  await page.waitForFunction(() => document.getElementById("status").className === "error");
  // The one that was asked for: the browser tells of every answer of 400.
  assert.deepEqual(faults.filter((fault) => !fault.includes("400")), []);
  if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/page-${scheme}.png` });
  await page.close();
}
done(`${await browser.version()} streams, stops and shows errors`);
await browser.close();

// Clients that misbehave. Each is answered or cut off, and none disturbs the next.
const raw = (text, wait = 30000, pause = 0) => new Promise((resolve) => {
  let answer = "";
  const socket = net.connect(Number(url.port), url.hostname, () => socket.write(text));
  const timer = setTimeout(() => socket.destroy(), wait);
  socket.on("data", (data) => {
    answer += data;
    if (pause) {
      socket.pause();
      setTimeout(() => socket.resume(), pause);
    }
  });
  socket.on("error", () => {});
  socket.on("close", () => { clearTimeout(timer); resolve(answer); });
});
const head = (length) => `POST /v1/completions HTTP/1.1\r\nHost: ${url.host}\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\nConnection: close\r\n\r\n`;
assert.match(await raw(head(8) + '{"prompt'), /^HTTP\/1.1 400/);
assert.match(await raw(head(100_000_000) + "x".repeat(1000)), /^HTTP\/1.1 413/);
assert.match(await raw(head(14) + '{"prompt":"\xff"}'.padEnd(14)), /^HTTP\/1.1 400/);
assert.match(await raw("GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"), /^HTTP\/1.1 403/);
assert.match(await raw("nonsense\r\n\r\n"), /^HTTP\/1.1 400/);
const body = JSON.stringify({ prompt: "x", max_tokens: 4000, stream: true });
await raw(head(body.length) + body, 300);
const huge = await fetch(base + "/v1/completions", { method: "POST", headers: { "Content-Type": "application/json" }, body: Buffer.alloc(100_000_000, 32) }).then((r) => r.status, () => 413);
assert.equal(huge, 413);
const since = Date.now();
assert.ok(!(await raw(`GET / HTTP/1.1\r\nHost: ${url.host}\r\nX-Slow: `)).startsWith("HTTP/1.1 200") && Date.now() - since < 20000, "slow headers are waited for too long");
assert.equal((await ai.completions.create(greedy)).choices[0].text, whole.choices[0].text);
done("bad JSON, 100 MB, invalid UTF-8, a foreign host, slow headers and abrupt ends are survived");

// Many clients at once; every output must be the one that the same request gives alone.
const requests = Array.from({ length: Number(clients) }, (_, i) => ({ prompt: "public static class ".slice(0, 3 + (i % 16)) + i, max_tokens: 40 + (i * 7) % 60, temperature: i % 2 ? 0.8 : 0, seed: i }));
const alone = [];
for (const request of requests) alone.push(await streamed(request));
const end = Date.now() + 1000 * Number(seconds);
let texts = 0, tokens = 0;
await Promise.all(requests.map(async (request, i) => {
  do {
    assert.equal(await streamed(request), alone[i]);
    texts++;
    tokens += request.max_tokens;
  } while (Date.now() < end);
}));
done(`${clients} clients at once: ${texts} texts, at most ${tokens} tokens, in ${seconds} s or a little more, each as alone`);

// One that takes what it is given only now and then gets it all the same, and the others do not wait for it.
const slow = raw((head(body.length) + body).replace("4000", "400 "), 60000, 100);
const quick = await streamed(greedy);
assert.equal(quick, whole.choices[0].text);
const text = await slow;
assert.match(text, /data: \[DONE\]/);
const metrics = await (await fetch(base + "/metrics", { headers: { Authorization: "Bearer " + ai.apiKey } })).text();
assert.match(metrics, /scratchmamba_running_texts 0\n/);
done("nothing is left running");
