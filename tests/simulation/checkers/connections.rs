//! DEL-4, DEL-5 and ORD-2's windows: how connections are used.

use super::super::faults::Plan;
use super::super::history::{End, Ended, Happening, History, RequestName, Terms};
use super::at;
use super::attempts::{Failing, Known};
use super::breaker::Breakers;
use ferrite::core::failure::Failure;
use ferrite::core::http::response::DeliveryWish;
use std::collections::{BTreeMap, BTreeSet};

/// A request that met a stale connection goes out again at once, on a new connection (DEL-4; that
/// it is not counted is for the rules "outcomes" and "attempts").
pub fn stale(history: &History, plan: &Plan) -> Result<(), String> {
    let mut known = Known::default();
    let pipelines = history.pipelines();
    let mut endpoints: BTreeMap<u32, usize> = BTreeMap::new();
    let mut opened: Vec<(usize, usize, u32)> = Vec::new();
    let mut again: BTreeMap<RequestName, u32> = BTreeMap::new();
    // Until when an endpoint may be on hold, and which webhooks are stopped: these wait.
    let mut quiet: BTreeMap<Option<usize>, u64> = BTreeMap::new();
    let mut breakers = Breakers::new(plan);
    let mut stopped: BTreeSet<u32> = BTreeSet::new();
    let mut call = 0;
    let mut failing = Failing::new(plan);
    for entry in &history.entries {
        stopped.extend(failing.follow(entry, &known));
        known.follow(entry);
        let _ = breakers.follow(entry);
        if entry.call != call {
            (call, opened) = (entry.call, Vec::new());
        }
        match &entry.what {
            Happening::Opening { link, shard, endpoint, .. } => {
                endpoints.insert(*link, *endpoint);
                opened.push((*shard, *endpoint, *link));
            }
            Happening::Ended(Ended { link, shard, end: End::Stale, request, .. }) => {
                let Some(name) = request else { continue };
                let here = endpoints.get(link).copied();
                let pipeline = pipelines.get(link).copied();
                let on_hold = quiet.get(&here).is_some_and(|until| entry.at < *until);
                let shut =
                    here.is_some_and(|here| breakers.is_shut_until((*shard, here)).is_some());
                let waits = on_hold || shut || stopped.contains(&name.webhook);
                let terms = known.of(*shard, name.webhook);
                // It may have to wait for a token.
                let waits = waits || terms.is_some_and(|terms| terms.rate > 0);
                let wanted = terms.map(|terms| (terms.endpoint, terms.pipeline));
                if waits || wanted != here.zip(pipeline) {
                    continue;
                }
                let fresh = opened.iter().find(|(of, to, fresh)| {
                    let same = pipelines.get(fresh).is_none_or(|known| Some(*known) == pipeline);
                    of == shard && Some(*to) == here && same
                });
                match fresh {
                    Some((_, _, fresh)) => drop(again.insert(*name, *fresh)),
                    None => {
                        let message = format!("{name:?} met a stale connection and waits");
                        return Err(at(entry.at, &message));
                    }
                }
            }
            Happening::Ended(Ended {
                link,
                end: End::Status { status, retry_at, wish },
                request,
                ..
            }) => {
                let Some(name) = request else { continue };
                let until = quiet.entry(endpoints.get(link).copied()).or_default();
                *until = retry_at.unwrap_or_default().max(*until);
                if *status == 410 || *wish == Some(DeliveryWish::Disable) {
                    stopped.insert(name.webhook);
                }
            }
            Happening::StatusSet { webhook, active: true } => drop(stopped.remove(webhook)),
            Happening::StatusSet { webhook, active: false } => drop(stopped.insert(*webhook)),
            Happening::Sent(sent) => {
                let was_stale = again.remove(&sent.name).is_some();
                if was_stale && sent.reused {
                    return Err(at(entry.at, &format!("on a used connection again: {sent:?}")));
                }
            }
            // The new connection was refused, say: that counts, and this is the next attempt.
            Happening::Attempt(attempt) => drop(again.remove(&attempt.name)),
            Happening::Learned { webhook, .. } => again.retain(|name, _| name.webhook != *webhook),
            Happening::Salvaged { .. } => again.clear(),
            _ => {}
        }
    }
    Ok(())
}

/// No exchange outlives its deadline, none is called too late before it, and a connection whose
/// exchange timed out, or that is closed, is never used again (DEL-5).
pub fn deadlines(history: &History, plan: &Plan) -> Result<(), String> {
    let mut timeouts: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    let mut finished: BTreeSet<u32> = BTreeSet::new();
    for entry in &history.entries {
        match &entry.what {
            Happening::Learned { webhook, terms, .. } => {
                timeouts.entry(*webhook).or_default().push(terms.timeout_ms * 1000);
            }
            Happening::Closed { link } => drop(finished.insert(*link)),
            Happening::Sent(sent) if finished.contains(&sent.link) => {
                return Err(at(entry.at, &format!("on a finished connection: {sent:?}")));
            }
            Happening::Ended(ended) => {
                let timed_out = ended.end == End::Failed(Failure::Timeout);
                if timed_out {
                    finished.insert(ended.link);
                }
                let Some(timeouts) = ended.request.and_then(|name| timeouts.get(&name.webhook))
                else {
                    continue;
                };
                let longest = timeouts.iter().max().copied().unwrap_or_default() + plan.late_us;
                let shortest = timeouts.iter().min().copied().unwrap_or_default();
                let took = entry.at - ended.assigned_at;
                let allowed = ended.deadline - ended.assigned_at;
                let early = timed_out && (took < shortest || took < allowed);
                if took > longest || took > allowed + plan.late_us || early {
                    let message = format!("after {took} us of {timeouts:?}: {ended:?}");
                    return Err(at(entry.at, &message));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The connections of a shard, in all and to one endpoint, and the deliveries of a webhook that
/// are under way, stay within their bounds; and no more connections are opened than the windows
/// need when each is filled.
pub fn windows(history: &History, plan: &Plan) -> Result<(), String> {
    connections_are_bounded(history, plan)?;
    deliveries_are_bounded(history)
}

/// What webhooks must have in common to share connections of a shard.
type PoolKey = (usize, usize, u32);

fn connections_are_bounded(history: &History, plan: &Plan) -> Result<(), String> {
    let pipelines = history.pipelines();
    let mut open: BTreeMap<u32, (usize, Option<PoolKey>)> = BTreeMap::new();
    let mut by_shard: BTreeMap<usize, usize> = BTreeMap::new();
    let mut by_pool: BTreeMap<PoolKey, usize> = BTreeMap::new();
    let needed = connections_needed(history, plan);
    let mut call = 0;
    for entry in &history.entries {
        // One call may say of the new connection before of the end of the old one.
        if entry.call != call {
            call = entry.call;
            let too_many = by_shard.iter().find(|(_, count)| **count > plan.connections_max);
            if let Some((shard, count)) = too_many {
                return Err(at(entry.at, &format!("{count} connections of {shard}")));
            }
            for (pool, count) in &by_pool {
                let bound = needed.get(pool).copied().unwrap_or(usize::MAX);
                let bound = bound.min(plan.endpoint_connections_max);
                if *count > bound {
                    let message = format!("{count} connections of {pool:?}, {bound} are enough");
                    return Err(at(entry.at, &message));
                }
            }
        }
        match &entry.what {
            // Test deliveries have connections of their own, beyond the bounds.
            Happening::Opening { link, shard, endpoint, test: false } => {
                // Only those that were written on are known to belong to a pool.
                let pool = pipelines.get(link).map(|pipeline| (*shard, *endpoint, *pipeline));
                open.insert(*link, (*shard, pool));
                *by_shard.entry(*shard).or_default() += 1;
                if let Some(pool) = pool {
                    *by_pool.entry(pool).or_default() += 1;
                }
            }
            Happening::Closed { link } => {
                if let Some((shard, pool)) = open.remove(link) {
                    *by_shard.entry(shard).or_default() -= 1;
                    if let Some(count) = pool.and_then(|pool| by_pool.get_mut(&pool)) {
                        *count -= 1;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// How many connections, when each is filled, the windows of a pool's webhooks need; of those
/// pools whose webhooks never change.
fn connections_needed(history: &History, plan: &Plan) -> BTreeMap<PoolKey, usize> {
    // One that gets no more requests, because writing failed or to give way, is made up for.
    if plan.faults.write_failures || plan.connections_max < Plan::quiet().connections_max {
        return BTreeMap::new();
    }
    let mut windows: BTreeMap<(usize, u32), Terms> = BTreeMap::new();
    for entry in &history.entries {
        match &entry.what {
            Happening::Learned { shard, webhook, terms } => {
                if windows.insert((*shard, *webhook), *terms).is_some() {
                    return BTreeMap::new();
                }
            }
            Happening::Deleted { .. } => return BTreeMap::new(),
            _ => {}
        }
    }
    let mut needed: BTreeMap<PoolKey, usize> = BTreeMap::new();
    for ((shard, _), terms) in &windows {
        *needed.entry((*shard, terms.endpoint, terms.pipeline)).or_default() +=
            terms.window as usize;
    }
    needed.iter_mut().for_each(|(pool, count)| *count = count.div_ceil(pool.2 as usize));
    needed
}

fn deliveries_are_bounded(history: &History) -> Result<(), String> {
    let mut known = Known::default();
    // The widest window of each webhook on each shard, and the call that changed it last.
    let mut widest: BTreeMap<(usize, u32), (u32, u64)> = BTreeMap::new();
    let mut open: BTreeMap<(u32, RequestName), (usize, u32)> = BTreeMap::new();
    let mut resent: BTreeSet<RequestName> = BTreeSet::new();
    // A stale connection whose request was not written yet leaves no name: its call does.
    let mut stale_calls: BTreeSet<u64> = BTreeSet::new();
    for entry in &history.entries {
        known.follow(entry);
        match &entry.what {
            Happening::Learned { shard, webhook, terms } => {
                let known = widest.entry((*shard, *webhook)).or_default();
                *known = (known.0.max(terms.window), entry.call + 1);
            }
            Happening::Sent(sent) if sent.event.is_some() => {
                let place = (sent.shard, sent.name.webhook);
                open.insert((sent.link, sent.name), place);
                let under_way = open.values().filter(|other| **other == place).count();
                let Some(terms) = known.of(place.0, place.1) else { continue };
                // A narrower window holds for what is begun under it, which a request that met a
                // stale connection was not.
                let again = resent.remove(&sent.name) || stale_calls.contains(&sent.assigned_call);
                let (widest, changed) = widest.get(&place).copied().unwrap_or_default();
                let bound =
                    if sent.assigned_call > changed && !again { terms.window } else { widest };
                if under_way > bound as usize {
                    let message = format!("{under_way} of {bound} under way: {sent:?}");
                    return Err(at(entry.at, &message));
                }
            }
            Happening::Ended(ended) => {
                if let Some(name) = ended.request {
                    open.remove(&(ended.link, name));
                }
                if ended.end == End::Stale {
                    resent.extend(ended.request);
                    stale_calls.insert(entry.call);
                }
            }
            _ => {}
        }
    }
    Ok(())
}
