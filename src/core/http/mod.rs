//! HTTP/1.1 as far as a webhook sender needs it: one POST, one response.
