//! (placeholder until the automata are merged)
use super::event::{EventMask, WebhookEvent};
/// One webhook's pattern.
#[derive(Clone, Copy, Debug)]
pub struct MatcherEntry<'a> {
    /// slot
    pub slot: u32,
    /// pattern
    pub pattern: &'a [u8],
    /// events
    pub events: EventMask,
}
/// placeholder
#[derive(Debug)]
pub struct Matcher(Vec<(u32, Vec<u8>, EventMask)>);
/// placeholder
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct MatcherError;
/// placeholder
pub fn validate_pattern(_: &[u8]) -> Result<(), MatcherError> {
    Ok(())
}
impl Matcher {
    /// placeholder
    pub fn build(e: &[MatcherEntry<'_>]) -> Result<Matcher, MatcherError> {
        Ok(Matcher(e.iter().map(|e| (e.slot, e.pattern.to_vec(), e.events)).collect()))
    }
    /// placeholder
    pub fn matches_any(&self, event: WebhookEvent, key: &[u8]) -> bool {
        self.0.iter().any(|e| e.2.contains(event) && hit(&e.1, key))
    }
    /// placeholder
    pub fn find(&self, event: WebhookEvent, key: &[u8], out: &mut Vec<u32>) {
        out.extend(self.0.iter().filter(|e| e.2.contains(event) && hit(&e.1, key)).map(|e| e.0))
    }
}
fn hit(p: &[u8], k: &[u8]) -> bool {
    match p.strip_suffix(b"*") {
        Some(p) => k.starts_with(p),
        None => p == k,
    }
}
