// A producer in Node.js, written from docs/protocol.md alone; numbers are those of "A producer in ten steps" there.
import { randomBytes } from "node:crypto";
import { decode, encode } from "@msgpack/msgpack";
import { Dealer } from "zeromq";

const [HELLO, WELCOME, REFUSE, HEARTBEAT, GOODBYE, PUBLISH, CONFIRM, RESULT, AWAIT] = [1, 2, 3, 4, 5, 10, 11, 12, 13];
const [RESULTS, FAILED, OPEN] = [1, 2, 4], WINDOW = 512; // Batches that may wait for their confirm.

const message = (kind, ...fields) => encode([1, kind, ...fields]);
const between = (low, high) => low + Math.random() * (high - low);

export class Producer {
  #id = randomBytes(16); #next = 1; #sent = new Map(); #unconfirmed = 0; #waiting = []; #idle; #left;
  #out = []; #sending = false; #state = "greeting"; #broker; #heard = 0; #asked = 0; #tries = 0; #timer;

  constructor(url) { // 1
    this.socket = new Dealer({
      immediate: true, linger: 0, maxMessageSize: 16 << 20, sendHighWaterMark: 1000, receiveHighWaterMark: 1000,
      reconnectInterval: Math.round(between(50, 250)), reconnectMaxInterval: 500, tcpKeepalive: 1,
    });
    this.socket.connect(url);
    this.#read();
    this.#greet();
  }

  /** Send bodies as one batch. Resolves once the broker answers for them. */
  send(queue, task, bodies) { return this.#publish(queue, task, bodies, 0); }

  /** Call a task. Resolves with its result. */
  call(queue, task, args) { return this.#publish(queue, task, [args], 1); }

  /** Leave, once all is confirmed and every result is here. */
  async close() { // 10
    if (this.#sent.size) await new Promise((go) => (this.#idle = go));
    this.#state = "leaving";
    this.#say(message(GOODBYE));
    await new Promise((go) => setTimeout((this.#left = go), 1000).unref());
    clearTimeout(this.#timer);
    this.socket.close();
  }

  async #publish(queue, task, bodies, flags) { // 4
    while (this.#unconfirmed >= WINDOW) await new Promise((go) => this.#waiting.push(go));
    const number = this.#next++, frames = [message(PUBLISH, number, queue, task, flags), encode(bodies)];
    this.#unconfirmed++;
    if (this.#state === "ready") this.#say(...frames);
    return new Promise((resolve, reject) =>
      this.#sent.set(number, { number, frames, wantsResult: flags, resent: false, resolve, reject }));
  }

  #greet() { // 2
    this.#state = "greeting";
    this.#out = [[message(HELLO, "producer", this.#id), encode({ pid: process.pid })]];
    this.#flush();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#greet(), between(10, Math.min(2000, 20 * 2 ** this.#tries++)));
  }
  #welcomed(broker, heartbeat, liveness) { // 3
    const isSame = broker === this.#broker, batches = [...this.#sent.values()];
    [this.#state, this.#broker, this.#tries, this.#asked] = ["ready", broker, 0, 0];
    const awaited = batches.filter((batch) => !batch.frames);
    if (isSame) this.#await(awaited); // 9
    else awaited.forEach((batch) => this.#end(batch, "the broker was restarted, and its memory queues with it"));
    for (const batch of batches.filter((batch) => batch.frames)) { batch.resent = true; this.#say(...batch.frames); }
    clearTimeout(this.#timer);
    this.#timer = setInterval(() => { // 8
      if (this.#asked > this.#heard && Date.now() - this.#asked > liveness) return this.#greet();
      if (this.#asked <= this.#heard) this.#asked = Date.now();
      this.#say(message(HEARTBEAT, []));
    }, heartbeat);
  }
  #await(batches) { if (batches.length) this.#say(message(AWAIT, batches.map((batch) => batch.number))); }
  #receive([head, frame]) {
    const [, kind, ...fields] = decode(head), batch = this.#sent.get(fields[kind === REFUSE ? 1 : 0]);
    this.#heard = Date.now();
    if (kind === WELCOME) this.#welcomed(Buffer.from(fields[0]).toString("hex"), fields[1], fields[2]);
    else if (kind === CONFIRM) this.#confirmed(fields[0]);
    else if (kind === RESULT && batch?.wantsResult) this.#result(batch, fields[2], fields[3], frame);
    else if (kind === REFUSE && batch?.frames) this.#refused(batch, fields[0], fields[2]);
    else if (kind === REFUSE && fields[0] === "unknown-peer" && this.#state === "ready") this.#greet();
    else if (kind === GOODBYE && this.#state === "leaving") this.#left();
    else if (kind === GOODBYE) this.#say(message(GOODBYE)).then(() => this.#greet());
  }
  #confirmed(ranges) { // 5
    for (let i = 0; i < ranges.length; i += 2)
      for (let number = ranges[i]; number <= ranges[i + 1]; number++) {
        const batch = this.#sent.get(number);
        if (!batch?.frames) continue;
        if (!batch.wantsResult) this.#end(batch);
        else if (this.#settle(batch), batch.resent) this.#await([batch]);
      }
  }
  #refused(batch, code, text) { // 6
    if (code !== "full" && code !== "draining") return this.#end(batch, `${text} (${code})`);
    setTimeout(() => batch.frames && this.#state === "ready" && this.#say(...batch.frames), between(10, 500));
  }
  #result(batch, tasks, status, frame) { // 7
    if (status === OPEN) return tasks || this.#end(batch, "the connection broke while its result was on its way");
    const [value] = frame ? decode(frame) : [null];
    if (status === FAILED) return this.#end(batch, `${value[0]}: ${value[1]}`);
    this.#end(batch, null, status === RESULTS ? value : null);
  }
  #settle(batch) { // The broker took it, or never will.
    if (batch.frames) { batch.frames = null; this.#unconfirmed--; this.#waiting.shift()?.(); }
  }
  #end(batch, error, value) { // Nothing of it is to come.
    if (error) batch.reject(new Error(error)); else batch.resolve(value);
    this.#settle(batch);
    this.#sent.delete(batch.number);
    if (!this.#sent.size) this.#idle?.();
  }
  async #say(...frames) { this.#out.push(frames); return this.#flush(); }
  async #flush() {
    if (this.#sending) return;
    this.#sending = true;
    while (this.#out.length && !this.socket.closed) await this.socket.send(this.#out.shift()).catch(() => {});
    this.#sending = false;
  }
  async #read() { for await (const frames of this.socket) this.#receive(frames); }
}
