//! HTTP/1.1 as far as a webhook sender needs it: one POST, one response.

pub mod chunked;
pub mod endpoint;
pub mod headers;
pub mod message_signature;
pub mod proxy;
pub mod request;
pub mod response;
mod response_head;
pub mod shown_url;
