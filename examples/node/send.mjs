// node send.mjs URL QUEUE TASK NUMBER: calls a task with 1, 2, … NUMBER and prints the sum of the results.
import { Producer } from "./producer.mjs";

const [url, queue, task, number] = process.argv.slice(2);
const producer = new Producer(url);
const calls = Array.from({ length: Number(number) }, (_, i) => producer.call(queue, task, [i + 1]));
console.log((await Promise.all(calls)).reduce((sum, value) => sum + value, 0));
await producer.close();
