// The WEBHOOK commands and a few others, for any client library.
'use strict';

const assert = require('assert');

// Fields by their names, whether the client gives a map, an object or a flat list.
function fields(reply) {
  if (reply instanceof Map) {
    return Object.fromEntries(reply);
  }
  if (!Array.isArray(reply)) {
    return reply;
  }
  const result = {};
  for (let at = 0; at < reply.length; at += 2) {
    result[reply[at]] = reply[at + 1];
  }
  return result;
}

// `call` takes a command's words and gives a promise of its reply.
async function runCommands(call, url) {
  const ok = async (...words) => assert.strictEqual(await call(...words), 'OK', words.join(' '));

  await ok('WEBHOOK.CREATE', 'orders', url, 'PATTERN', 'order:*', 'EVENTS', 'SET', 'DEL');
  const list = await call('WEBHOOK.LIST');
  assert.strictEqual(list.length, 1);
  assert.strictEqual(fields(list[0]).name, 'orders');
  assert.deepStrictEqual(fields(list[0]).events, ['SET', 'DEL']);
  await ok('WEBHOOK.UPDATE', 'orders', 'EVENTS', 'SET');
  await ok('WEBHOOK.DISABLE', 'orders');
  assert.strictEqual(fields(await call('WEBHOOK.INFO', 'orders')).status, 'disabled');
  await ok('WEBHOOK.ENABLE', 'orders');
  const test = fields(await call('WEBHOOK.TEST', 'orders'));
  assert.strictEqual(test.result, 'success');
  assert.strictEqual(test.http_status, 200);
  await ok('SET', 'order:1', 'Alice');
  await ok('WEBHOOK.PUBLISH', 'SET', 'order:2', 'Bob');
  for (let look = 0; ; look += 1) {
    const info = fields(await call('WEBHOOK.INFO', 'orders'));
    assert.strictEqual(info.failures, 0);
    if (info.deliveries === 2) {
      break;
    }
    assert.ok(look < 2000, 'never delivered');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const deliveries = await call('WEBHOOK.DELIVERIES', 'orders', 'COUNT', '10');
  assert.deepStrictEqual(deliveries.map((entry) => fields(entry).http_status), [200, 200]);
  const stats = fields(await call('WEBHOOK.STATS'));
  assert.strictEqual(stats.total_webhooks, 1);
  assert.strictEqual(stats.successful_deliveries, 2);
  await assert.rejects(call('WEBHOOK.INFO', 'nobody'), /NOWEBHOOK no such webhook 'nobody'/);
  await ok('WEBHOOK.DELETE', 'orders');
  assert.deepStrictEqual(await call('WEBHOOK.LIST'), []);
}

module.exports = { runCommands };
