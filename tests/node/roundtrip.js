// Reads lines of `<x-ferrite-signature> <webhook-signature> <body>` and plays the receiver.
// argv: SECRET, webhook-id, webhook-timestamp. Exits with 1 at the first body that a receiver
// would refuse.
'use strict';

const crypto = require('crypto');

// As the user documentation gives it.
function verifySignature(payload, signature, secret) {
  const expected = crypto
    .createHmac('sha256', secret)
    .update(JSON.stringify(payload))
    .digest('hex');

  return crypto.timingSafeEqual(
    Buffer.from(signature),
    Buffer.from(`sha256=${expected}`)
  );
}

// As Standard Webhooks 1.0.0 describes it.
function verifyStandard(body, signature, secret, id, timestamp) {
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
  const expected = crypto
    .createHmac('sha256', key)
    .update(`${id}.${timestamp}.`)
    .update(body)
    .digest('base64');

  return signature === `v1,${expected}`;
}

function refuse(number, reason, body) {
  console.error(`body ${number}: ${reason}\n${body.toString('utf8')}`);
  process.exit(1);
}

const [secret, id, timestamp] = process.argv.slice(2);
const input = require('fs').readFileSync(0);
let count = 0;
for (let start = 0; start < input.length; count += 1) {
  const end = input.indexOf(0x0a, start);
  const line = input.subarray(start, end);
  start = end + 1;
  const first = line.indexOf(0x20);
  const second = line.indexOf(0x20, first + 1);
  const ferrite = line.toString('latin1', 0, first);
  const standard = line.toString('latin1', first + 1, second);
  const body = line.subarray(second + 1);

  const payload = JSON.parse(body.toString('utf8'));
  if (!Buffer.from(JSON.stringify(payload)).equals(body)) {
    refuse(count, 'JSON.stringify(JSON.parse(body)) !== body', body);
  }
  if (!verifySignature(payload, ferrite, secret)) {
    refuse(count, `${ferrite} is not accepted`, body);
  }
  if (!verifyStandard(body, standard, secret, id, timestamp)) {
    refuse(count, `${standard} is not accepted`, body);
  }
}
console.log(`${count} accepted`);
