// Receivers of the published standards. Reads a JSON list of requests, each with what is to be
// checked of it; a changed body must be refused as well as the true one is accepted.
'use strict';

const assert = require('assert');
const crypto = require('crypto');
const { Webhook } = require('standardwebhooks');
const { HTTP } = require('cloudevents');
const { httpbis, createVerifier } = require('http-message-signatures');

function publicKey(text) {
  const raw = Buffer.from(text.replace(/^whpk_/, ''), 'base64');
  const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), raw]);
  return crypto.createPublicKey({ key: spki, format: 'der', type: 'spki' });
}

function sharedKey(secret) {
  const encoded = /^whsec_(.*)$/.exec(secret);
  return encoded ? Buffer.from(encoded[1], 'base64') : Buffer.from(secret, 'utf8');
}

const checks = {
  // npm standardwebhooks.
  async standard({ secret }, { headers, body }) {
    const options = secret.startsWith('whsec_') ? undefined : { format: 'raw' };
    new Webhook(secret, options).verify(body.toString('utf8'), headers);
  },

  // v1a, which the library does not have: as Standard Webhooks 1.0.0 describes it.
  async standardPublic({ key }, { headers, body }) {
    const items = headers['webhook-signature'].split(' ').map((item) => item.split(','));
    const beginning = `${headers['webhook-id']}.${headers['webhook-timestamp']}.`;
    const signed = Buffer.concat([Buffer.from(beginning), body]);
    const verified = items.some(
      ([version, signature]) =>
        version === 'v1a' &&
        crypto.verify(null, signed, publicKey(key), Buffer.from(signature, 'base64'))
    );
    assert(verified, 'no v1a signature is the key\'s');
  },

  // The user documentation's own verifier.
  async ferrite({ secret }, { headers, body }) {
    const json = JSON.stringify(JSON.parse(body));
    const expected = crypto.createHmac('sha256', secret).update(json).digest('hex');
    assert.strictEqual(headers['x-ferrite-signature'], `sha256=${expected}`);
  },

  // npm http-message-signatures. It leaves Content-Digest to the caller.
  async rfc9421({ secret, key, keyId }, { url, headers, body }) {
    const digest = crypto.createHash('sha256').update(body).digest('base64');
    assert.strictEqual(headers['content-digest'], `sha-256=:${digest}:`);
    const verifier = secret
      ? { id: keyId, algs: ['hmac-sha256'], verify: createVerifier(sharedKey(secret), 'hmac-sha256') }
      : { id: keyId, algs: ['ed25519'], verify: createVerifier(publicKey(key), 'ed25519') };
    const config = {
      keyLookup: async ({ keyid }) => (keyid === keyId ? verifier : null),
      requiredFields: ['@method', '@authority', '@path', '@query', 'content-digest', 'x-ferrite-id'],
      requiredParams: ['created', 'keyid', 'alg'],
    };
    assert.strictEqual(await httpbis.verifyMessage(config, { method: 'POST', url, headers }), true);
  },

  // npm cloudevents.
  async cloudevent({ attributes, value }, { headers, body }) {
    const event = HTTP.toEvent({ headers, body: body.toString('utf8') });
    assert(event.validate());
    for (const [name, wanted] of Object.entries(attributes)) {
      // In binary mode the library leaves percent signs in headers to its caller.
      const told = headers['ce-id'] ? decodeURIComponent(event[name]) : event[name];
      assert.strictEqual(told, wanted, name);
    }
    assert.strictEqual(event.data.id, event.id);
    assert.strictEqual(event.data.data.value, value);
    // A Date of JavaScript holds milliseconds.
    assert.strictEqual(event.time, new Date(event.data.timestamp).toISOString());
  },
};

async function main() {
  const requests = JSON.parse(require('fs').readFileSync(0));
  let count = 0;
  for (const { name, url, headers, body, wanted } of requests) {
    const request = { url, headers, body: Buffer.from(body, 'base64') };
    const changed = Buffer.from(request.body.toString('latin1').replace('Alice', 'Alicf'), 'latin1');
    assert(!changed.equals(request.body));
    for (const check of wanted) {
      const run = checks[check.kind];
      await run(check, request).catch((error) => {
        throw new Error(`${name}: ${check.kind}: ${error.stack}\n${JSON.stringify(headers)}`);
      });
      await assert.rejects(run(check, { ...request, body: changed }), `${name}: ${check.kind}`);
      count += 1;
    }
  }
  console.log(`${count} checks\nall passed`);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
