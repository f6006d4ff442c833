//! What the API server said of tokens and rights, and for how long it counts.
//!
//! The times are the kubelet's (`authentication.webhook.cacheTTL`, `authorization.webhook.*TTL`). While
//! the API server is away, what it allowed counts on for ten minutes since it was allowed; a scraper
//! misses nothing when a control plane is upgraded, and a token that was revoked is not good for ever.
//!
//! # Against floods
//! Whoever reaches the port can make up tokens. New tokens are shown to the API server at a bounded pace
//! and in a lane of their own, so that they neither flood it nor hold up those it vouched for before; what
//! is over the pace is told to come back. Each address has a pace of its own (`clients`), or else one of them
//! would keep all new tokens out. Requests that want to know the same share one review. A review
//! goes on when the client that caused it hangs up: the next one will want to know, too.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, timeout};

use super::Reviewer;
use super::clients::Clients;
use super::memory::{Key, Memory};
use super::outage::{About, BREATHER, Outage};
use super::pace::Pace;
use crate::kubernetes::review::{ReviewError, Right, User};
use crate::model::health::{Health, Refusal, Room, Trouble};

/// A token that is good.
const AUTHENTICATED: Duration = Duration::from_secs(2 * 60);
/// A token that nobody vouches for: it may be that the account was made a moment ago.
const UNAUTHENTICATED: Duration = Duration::from_secs(10);
/// A right that is there.
const AUTHORIZED: Duration = Duration::from_secs(5 * 60);
/// A right that is not.
const UNAUTHORIZED: Duration = Duration::from_secs(30);
/// What was allowed, while the API server is away.
const OUTAGE: Duration = Duration::from_secs(10 * 60);
/// How long a review may wait for others to end before it begins.
const QUEUE: Duration = Duration::from_secs(1);
/// One request with all the reviews it needs; less than it has in all.
const WHOLE: Duration = Duration::from_secs(6);

/// Tokens that were good once, and of each the rights last asked for.
const KNOWN: usize = 1024;
const RIGHTS: usize = 64;
/// Tokens that were not.
const UNKNOWN: usize = 256;
/// Reviews at once, of tokens that were good before.
const KNOWN_LANE: usize = 8;
/// The same of others, of all addresses.
const NEW_LANE: usize = 32;
/// Rights of one token a second, and at once: paths are the client's to choose.
const NEW_RIGHTS: (u32, u32) = (20, 40);

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    /// This user has none of the rights.
    Denied(Arc<User>),
    /// Nobody vouches for the token.
    Unauthenticated,
    /// The API server does not say. Why is for the log: a client may be anybody.
    Unavailable,
    /// Over the pace.
    TooMany,
}

/// Asks the API server and remembers. Cheap to clone.
pub(super) struct Reviews<R>(Arc<Inner<R>>);

impl<R> Clone for Reviews<R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Inner<R> {
    reviewer: R,
    health: Arc<Health>,
    /// Made at start and never shown: what is remembered names no token.
    secret: hmac::Key,
    desk: Mutex<Desk>,
    known_lane: Semaphore,
    new_lane: Semaphore,
}

struct Desk {
    known: Memory<Known>,
    unknown: Memory<Instant>,
    clients: Clients,
    /// Reviews under way.
    asking: HashMap<Key, watch::Receiver<Option<Outcome>>>,
    outage: Outage,
}

struct Known {
    user: Arc<User>,
    since: Instant,
    rights: Memory<(bool, Instant)>,
    new_rights: Pace,
    /// A review about it failed a moment ago.
    ask_again: Option<Instant>,
}

type Outcome = Result<Said, Obstacle>;

/// What a review says.
#[derive(Clone, Debug)]
enum Said {
    /// Who holds the token, if anybody.
    Holder(Option<Arc<User>>),
    /// Whether the right is there.
    Allowed(bool),
}

#[derive(Clone, Debug)]
enum Obstacle {
    Away,
    TooMany,
}

/// What is remembered.
enum Recall {
    /// Counts.
    Fresh(Said),
    /// Would count if the API server were away.
    Fading(Said),
    Nothing,
}

impl Recall {
    fn was_allowed(&self) -> bool {
        matches!(self, Self::Fresh(Said::Allowed(true)) | Self::Fading(Said::Allowed(true)))
    }
}

/// What one review is about.
#[derive(Clone)]
enum Question {
    Token { key: Key, token: Arc<str>, known: bool, client: IpAddr },
    Right { key: Key, token: Key, user: Arc<User>, right: Right },
}

/// Where a question waits for its turn.
enum Lane {
    Known,
    /// The client's own, and then that of all.
    New(Arc<Semaphore>),
}

type Turn<'a> = (Option<SemaphorePermit<'a>>, SemaphorePermit<'a>);

impl<R: Reviewer> Reviews<R> {
    pub(super) fn new(reviewer: R, health: Arc<Health>) -> Self {
        let secret = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            // Without randomness there is no TLS either: this process would not have come here.
            .unwrap_or_else(|_| hmac::Key::new(hmac::HMAC_SHA256, &[]));
        let desk = Desk {
            known: Memory::new(KNOWN),
            unknown: Memory::new(UNKNOWN),
            clients: Clients::new(),
            asking: HashMap::new(),
            outage: Outage::default(),
        };
        let (known_lane, new_lane) = (Semaphore::new(KNOWN_LANE), Semaphore::new(NEW_LANE));
        Self(Arc::new(Inner { reviewer, health, secret, desk: Mutex::new(desk), known_lane, new_lane }))
    }

    /// Whether the holder of `token`, who asks from `client`, has one of `rights`.
    pub(super) async fn decide(&self, token: &str, client: IpAddr, rights: &[Right]) -> Verdict {
        let verdict = timeout(WHOLE, self.look_up(token, client, rights)).await;
        verdict.unwrap_or(Verdict::Unavailable)
    }

    async fn look_up(&self, token: &str, client: IpAddr, rights: &[Right]) -> Verdict {
        let token_key = self.key(&[b"token", token.as_bytes()]);
        let known = self.desk().known.get(&token_key).is_some();
        let question = Question::Token { key: token_key, token: token.into(), known, client };
        let user = match self.ask(question).await {
            Ok(Said::Holder(Some(user))) => user,
            Ok(_) => return Verdict::Unauthenticated,
            Err(obstacle) => return obstacle.into(),
        };
        let questions = rights.iter().map(|right| Question::Right {
            key: self.key(&[b"right", &token_key, format!("{right:?}").as_bytes()]),
            token: token_key,
            user: user.clone(),
            right: right.clone(),
        });
        let mut questions: Vec<_> = questions.collect();
        // A right that was there before comes first: it spares the question for the other.
        let now = Instant::now();
        questions.sort_by_key(|it| !it.recall(&mut self.desk(), now).was_allowed());
        let mut verdict = Verdict::Denied(user);
        for question in questions {
            match self.ask(question).await {
                Ok(Said::Allowed(true)) => return Verdict::Allowed,
                Ok(_) => {}
                Err(obstacle) => verdict = obstacle.into(),
            }
        }
        verdict
    }

    /// From memory, or from the API server.
    async fn ask(&self, question: Question) -> Outcome {
        let (mut answer, fading) = {
            let mut desk = self.desk();
            let now = Instant::now();
            let fading = match question.recall(&mut desk, now) {
                Recall::Fresh(said) => return Ok(said),
                Recall::Fading(said) => Some(said),
                Recall::Nothing => None,
            };
            let likely_away = desk.outage.is_likely();
            // A review that ended without telling does not count: nobody would ever ask again.
            let under_way = desk.asking.get(question.key()).filter(|answer| answer.has_changed().is_ok());
            let answer = match under_way {
                Some(answer) => answer.clone(),
                None => {
                    if desk.outage.rests(now) || question.rests(&mut desk, now) {
                        return fading.ok_or(Obstacle::Away);
                    }
                    let lane = question.lane(&mut desk).ok_or(Obstacle::TooMany)?;
                    let (sender, answer) = watch::channel(None);
                    desk.asking.insert(*question.key(), answer.clone());
                    tokio::spawn(self.clone().review(question, lane, sender));
                    answer
                }
            };
            // The review shows whether the API server is back. Who may go on meanwhile need not wait.
            if let (true, Some(said)) = (likely_away, fading.clone()) {
                return Ok(said);
            }
            (answer, fading)
        };
        let outcome = answer.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        match outcome.unwrap_or(Err(Obstacle::Away)) {
            // Only when the API server itself is in the way: or else a client could keep its rights by
            // asking too much.
            Err(Obstacle::Away) => fading.ok_or(Obstacle::Away),
            outcome => outcome,
        }
    }

    /// Asks the API server one question and tells all who wait for it.
    async fn review(self, question: Question, lane: Lane, tell: watch::Sender<Option<Outcome>>) {
        let place = timeout(QUEUE, self.enter(&lane)).await;
        let now = Instant::now();
        let outcome = match place {
            Ok(Ok(_place)) => {
                self.0.health.api_reviews.fetch_add(1, Ordering::Relaxed);
                Some(question.review(&self.0.reviewer).await)
            }
            _ => None,
        };
        let mut desk = self.desk();
        desk.asking.remove(question.key());
        let outcome = match outcome {
            None => Err(Obstacle::TooMany),
            Some(Ok(said)) => {
                if desk.outage.answered(question.about()) {
                    tracing::info!(about = ?question.about(), "the API server reviews again");
                }
                question.remember(&mut desk, now, &said);
                question.leave_alone(&mut desk, None);
                Ok(said)
            }
            Some(Err(error)) => {
                self.0.health.count(Room::Kubernetes, trouble(error.refusal));
                let now = Instant::now();
                if desk.outage.failed(question.about(), error.refusal, now) {
                    tracing::warn!(error = %error.message, "tokens cannot be reviewed");
                }
                question.leave_alone(&mut desk, Some(now + BREATHER));
                Err(Obstacle::Away)
            }
        };
        drop(desk);
        tell.send_replace(Some(outcome));
    }

    /// Waits for the turn of a question: first among those of its client, then among all.
    async fn enter<'a>(&'a self, lane: &'a Lane) -> Result<Turn<'a>, AcquireError> {
        match lane {
            Lane::Known => Ok((None, self.0.known_lane.acquire().await?)),
            Lane::New(own) => Ok((Some(own.acquire().await?), self.0.new_lane.acquire().await?)),
        }
    }

    fn key(&self, parts: &[&[u8]]) -> Key {
        let mut context = hmac::Context::with_key(&self.0.secret);
        for part in parts {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut key = Key::default();
        key.copy_from_slice(context.sign().as_ref());
        key
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Question {
    fn key(&self) -> &Key {
        match self {
            Self::Token { key, .. } | Self::Right { key, .. } => key,
        }
    }

    fn about(&self) -> About {
        match self {
            Self::Token { .. } => About::Token,
            Self::Right { .. } => About::Right,
        }
    }

    /// The token it is about, if that was good before.
    fn token<'a>(&self, desk: &'a mut Desk) -> Option<&'a mut Known> {
        match self {
            Self::Token { key, .. } | Self::Right { token: key, .. } => desk.known.get(key),
        }
    }

    /// Whether a review about the same token failed a moment ago.
    fn rests(&self, desk: &mut Desk, now: Instant) -> bool {
        self.token(desk).and_then(|known| known.ask_again).is_some_and(|then| now < then)
    }

    fn leave_alone(&self, desk: &mut Desk, until: Option<Instant>) {
        if let Some(known) = self.token(desk) {
            known.ask_again = until;
        }
    }

    fn recall(&self, desk: &mut Desk, now: Instant) -> Recall {
        match self {
            Self::Token { key, .. } => {
                if let Some(Known { user, since, .. }) = desk.known.get(key) {
                    let said = Said::Holder(Some(user.clone()));
                    return recall(now, *since, AUTHENTICATED, OUTAGE, said);
                }
                let nobody = desk.unknown.get(key).copied();
                nobody.map_or(Recall::Nothing, |since| {
                    recall(now, since, UNAUTHENTICATED, Duration::ZERO, Said::Holder(None))
                })
            }
            Self::Right { key, token, .. } => {
                let right = desk.known.get(token).and_then(|known| known.rights.get(key)).copied();
                right.map_or(Recall::Nothing, |(allowed, since)| {
                    let (fresh, outage) =
                        if allowed { (AUTHORIZED, OUTAGE) } else { (UNAUTHORIZED, Duration::ZERO) };
                    recall(now, since, fresh, outage, Said::Allowed(allowed))
                })
            }
        }
    }

    /// Where one more question of this kind waits; `None`: it is over the pace.
    fn lane(&self, desk: &mut Desk) -> Option<Lane> {
        match self {
            Self::Token { known: false, client, .. } => desk.clients.take(*client).map(Lane::New),
            Self::Token { .. } => Some(Lane::Known),
            Self::Right { .. } => {
                self.token(desk).is_none_or(|known| known.new_rights.take()).then_some(Lane::Known)
            }
        }
    }

    async fn review<R: Reviewer>(&self, reviewer: &R) -> Result<Said, ReviewError> {
        match self {
            Self::Token { token, .. } => {
                reviewer.authenticate(token).await.map(|user| Said::Holder(user.map(Arc::new)))
            }
            Self::Right { user, right, .. } => reviewer.authorize(user, right).await.map(Said::Allowed),
        }
    }

    fn remember(&self, desk: &mut Desk, now: Instant, said: &Said) {
        match (self, said) {
            (Self::Token { key, .. }, Said::Holder(Some(user))) => {
                desk.unknown.remove(key);
                match desk.known.get(key).filter(|known| known.user == *user) {
                    Some(known) => known.since = now,
                    None => {
                        let rights = Memory::new(RIGHTS);
                        let new_rights = Pace::new(NEW_RIGHTS.0, NEW_RIGHTS.1);
                        let ask_again = None;
                        desk.known.put(
                            *key,
                            Known { user: user.clone(), since: now, rights, new_rights, ask_again },
                        );
                    }
                }
            }
            (Self::Token { key, .. }, _) => {
                desk.known.remove(key);
                desk.unknown.put(*key, now);
            }
            (Self::Right { key, token, user, .. }, Said::Allowed(allowed)) => {
                if let Some(known) = desk.known.get(token).filter(|known| known.user == *user) {
                    known.rights.put(*key, (*allowed, now));
                }
            }
            (Self::Right { .. }, Said::Holder(_)) => {}
        }
    }
}

fn recall(now: Instant, since: Instant, fresh: Duration, outage: Duration, said: Said) -> Recall {
    match now.saturating_duration_since(since) {
        age if age < fresh => Recall::Fresh(said),
        age if age < outage => Recall::Fading(said),
        _ => Recall::Nothing,
    }
}

fn trouble(refusal: Refusal) -> Trouble {
    match refusal {
        Refusal::Timeout => Trouble::Timeout,
        Refusal::Unauthorized | Refusal::Forbidden => Trouble::Denied,
        Refusal::Malformed => Trouble::Malformed,
        Refusal::Expired => Trouble::Gone,
        Refusal::Unreachable | Refusal::Throttled | Refusal::ServerError => Trouble::Io,
    }
}

impl From<Obstacle> for Verdict {
    fn from(obstacle: Obstacle) -> Self {
        match obstacle {
            Obstacle::Away => Self::Unavailable,
            Obstacle::TooMany => Self::TooMany,
        }
    }
}

#[cfg(test)]
#[path = "reviews_tests.rs"]
mod tests;
