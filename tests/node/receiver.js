// A receiver of webhooks. argv: SECRET. Writes its port, and when its standard input ends, one
// line of JSON for every request: whether it was accepted, the key, and the value in base64.
'use strict';

const crypto = require('crypto');
const http = require('http');

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

const SECRET = process.argv[2];
const seen = [];

// The value as it was written: bytes that are no text travel in base64.
function valueOf(data) {
  if (typeof data.value !== 'string') {
    return null;
  }
  const encoding = data.value_encoding === 'base64' ? 'base64' : 'utf8';
  return Buffer.from(data.value, encoding).toString('base64');
}

function receive(req, body) {
  try {
    const payload = JSON.parse(body.toString('utf8'));
    const signature = req.headers['x-ferrite-signature'];
    const accepted = verifySignature(payload, signature, SECRET);
    seen.push({ accepted, key: payload.key, value: valueOf(payload.data) });
    return accepted;
  } catch (error) {
    seen.push({ accepted: false, error: String(error), body: body.toString('base64') });
    return false;
  }
}

const server = http.createServer((req, res) => {
  const chunks = [];
  req.on('data', (chunk) => chunks.push(chunk));
  req.on('end', () => {
    const accepted = receive(req, Buffer.concat(chunks));
    res.statusCode = accepted ? 200 : 401;
    res.end(accepted ? 'OK' : 'Invalid signature');
  });
});

server.listen(0, '127.0.0.1', () => console.log(server.address().port));

process.stdin.resume();
process.stdin.on('end', () => {
  const text = seen.map((entry) => JSON.stringify(entry) + '\n').join('');
  process.stdout.write(text, () => process.exit(0));
});
