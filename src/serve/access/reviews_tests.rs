//! The times and bounds of what is remembered, on a clock that only moves when told to.

use std::collections::HashSet;
use std::sync::atomic::AtomicUsize;

use tokio::time::advance;

use super::*;

/// An API server of the test's own.
#[derive(Clone, Default)]
struct Fake(Arc<World>);

#[derive(Default)]
struct World {
    /// Token `t-name` belongs to `name`, if `name` is in here.
    accounts: Mutex<HashSet<&'static str>>,
    /// Paths that everybody may get.
    paths: Mutex<HashSet<&'static str>>,
    /// Why it does not answer.
    away: Mutex<Option<Refusal>>,
    /// Before each answer.
    delay: Mutex<Duration>,
    tokens: AtomicUsize,
    rights: AtomicUsize,
}

impl World {
    async fn think(&self) -> Result<(), ReviewError> {
        let delay = *self.delay.lock().unwrap();
        tokio::time::sleep(delay).await;
        let away = *self.away.lock().unwrap();
        away.map_or(Ok(()), |refusal| Err(ReviewError { refusal, message: "away".to_owned() }))
    }
}

impl Reviewer for Fake {
    async fn authenticate(&self, token: &str) -> Result<Option<User>, ReviewError> {
        self.0.tokens.fetch_add(1, Ordering::SeqCst);
        self.0.think().await?;
        let name = token.strip_prefix("t-").unwrap_or_default();
        let known = self.0.accounts.lock().unwrap().contains(name);
        Ok(known.then(|| User { name: name.to_owned(), ..User::default() }))
    }

    async fn authorize(&self, _: &User, right: &Right) -> Result<bool, ReviewError> {
        self.0.rights.fetch_add(1, Ordering::SeqCst);
        self.0.think().await?;
        let Right::Path(path) = right else { return Ok(false) };
        Ok(self.0.paths.lock().unwrap().contains(path.as_str()))
    }
}

struct Stage {
    fake: Fake,
    reviews: Reviews<Fake>,
    health: Arc<Health>,
}

impl Stage {
    fn new() -> Self {
        let (fake, health) = (Fake::default(), Arc::new(Health::default()));
        fake.0.accounts.lock().unwrap().insert("web");
        fake.0.paths.lock().unwrap().insert("/yes");
        let reviews = Reviews::new(fake.clone(), health.clone());
        Self { fake, reviews, health }
    }

    async fn get(&self, token: &str, path: &str) -> Verdict {
        self.get_from([10, 0, 0, 1], token, path).await
    }

    async fn get_from(&self, client: [u8; 4], token: &str, path: &str) -> Verdict {
        self.reviews.decide(token, client.into(), &[Right::Path(path.to_owned())]).await
    }

    /// Reviews of tokens and of rights so far.
    fn asked(&self) -> (usize, usize) {
        (self.fake.0.tokens.load(Ordering::SeqCst), self.fake.0.rights.load(Ordering::SeqCst))
    }

    fn away(&self, away: Option<Refusal>) {
        *self.fake.0.away.lock().unwrap() = away;
    }
}

fn denied() -> Verdict {
    Verdict::Denied(Arc::new(User { name: "web".to_owned(), ..User::default() }))
}

fn unavailable() -> Verdict {
    Verdict::Unavailable
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_good_token_counts_two_minutes() {
    let stage = Stage::new();
    assert_eq!(stage.get("t-web", "/yes").await, Verdict::Allowed);
    advance(119 * SECOND).await;
    assert_eq!(stage.get("t-web", "/yes").await, Verdict::Allowed);
    assert_eq!(stage.asked(), (1, 1));
    advance(SECOND).await;
    assert_eq!(stage.get("t-web", "/yes").await, Verdict::Allowed);
    assert_eq!(stage.asked(), (2, 1), "the right is younger than five minutes");
    stage.fake.0.accounts.lock().unwrap().clear();
    advance(119 * SECOND).await;
    assert_eq!(stage.get("t-web", "/yes").await, Verdict::Allowed);
    advance(SECOND).await;
    assert_eq!(stage.get("t-web", "/yes").await, Verdict::Unauthenticated, "revoked");
}

#[tokio::test(start_paused = true)]
async fn a_right_counts_five_minutes_and_its_absence_thirty_seconds() {
    let stage = Stage::new();
    assert_eq!(stage.get("t-web", "/yes").await, Verdict::Allowed);
    assert_eq!(stage.get("t-web", "/no").await, denied());
    stage.fake.0.paths.lock().unwrap().remove("/yes");
    stage.fake.0.paths.lock().unwrap().insert("/no");
    advance(29 * SECOND).await;
    assert_eq!(stage.get("t-web", "/no").await, denied());
    assert_eq!(stage.asked().1, 2);
    advance(SECOND).await;
    assert_eq!(stage.get("t-web", "/no").await, Verdict::Allowed);
    advance(269 * SECOND).await;
    assert_eq!(stage.get("t-web", "/yes").await, Verdict::Allowed, "299 s after it was given");
    assert_eq!(stage.asked().1, 3);
    advance(SECOND).await;
    assert_eq!(stage.get("t-web", "/yes").await, denied());
}

#[tokio::test(start_paused = true)]
async fn a_bad_token_is_bad_for_ten_seconds() {
    let stage = Stage::new();
    stage.fake.0.accounts.lock().unwrap().clear();
    assert_eq!(stage.get("t-web", "/yes").await, Verdict::Unauthenticated);
    stage.fake.0.accounts.lock().unwrap().insert("web");
    advance(Duration::from_millis(9_999)).await;
    assert_eq!(stage.get("t-web", "/yes").await, Verdict::Unauthenticated);
    assert_eq!(stage.asked(), (1, 0));
    advance(Duration::from_millis(1)).await;
    assert_eq!(stage.get("t-web", "/yes").await, Verdict::Allowed);
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_what_was_allowed_counts_ten_minutes() {
    for refusal in [Refusal::Unreachable, Refusal::Timeout, Refusal::Forbidden, Refusal::ServerError] {
        let stage = Stage::new();
        assert_eq!(stage.get("t-web", "/yes").await, Verdict::Allowed);
        assert_eq!(stage.get("t-web", "/no").await, denied());
        stage.away(Some(refusal));
        advance(121 * SECOND).await;
        assert_eq!(stage.get("t-web", "/yes").await, Verdict::Allowed, "the token would be asked about");
        assert_eq!(stage.get("t-web", "/no").await, unavailable(), "what was denied is not allowed now");
        advance(478 * SECOND).await;
        assert_eq!(stage.get("t-web", "/yes").await, Verdict::Allowed, "599 s");
        advance(SECOND).await;
        assert_eq!(stage.get("t-web", "/yes").await, unavailable(), "600 s");
        stage.away(None);
        advance(SECOND).await;
        assert_eq!(stage.get("t-web", "/yes").await, Verdict::Allowed, "it is back");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_does_not_make_an_old_allow_new() {
    let stage = Stage::new();
    assert_eq!(stage.get("t-web", "/yes").await, Verdict::Allowed);
    // The token is confirmed at four minutes, the right is not asked for again.
    advance(240 * SECOND).await;
    assert_eq!(stage.get("t-web", "/yes").await, Verdict::Allowed);
    stage.away(Some(Refusal::Unreachable));
    advance(359 * SECOND).await;
    assert_eq!(stage.get("t-web", "/yes").await, Verdict::Allowed);
    advance(SECOND).await;
    assert_eq!(stage.get("t-web", "/yes").await, unavailable(), "the right is ten minutes old");
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_does_not_answer_is_left_alone_for_a_second() {
    let stage = Stage::new();
    stage.away(Some(Refusal::Unreachable));
    assert_eq!(stage.get("t-web", "/yes").await, unavailable());
    advance(Duration::from_millis(999)).await;
    assert_eq!(stage.get("t-other", "/yes").await, unavailable());
    assert_eq!(stage.asked(), (1, 0));
    advance(Duration::from_millis(1)).await;
    assert_eq!(stage.get("t-web", "/yes").await, unavailable());
    assert_eq!(stage.asked(), (2, 0));
    assert_eq!(stage.health.counted(Room::Kubernetes, Trouble::Io), 2);
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_with_one_token_does_not_keep_others_out() {
    for refusal in [Refusal::Timeout, Refusal::Forbidden, Refusal::Malformed, Refusal::Throttled] {
        let stage = Stage::new();
        stage.away(Some(refusal));
        assert_eq!(stage.get("t-odd", "/yes").await, unavailable());
        stage.away(None);
        assert_eq!(stage.get("t-web", "/yes").await, Verdict::Allowed, "{refusal:?}");
    }
    let stage = Stage::new();
    stage.away(Some(Refusal::Timeout));
    for token in ["t-odd", "t-other"] {
        assert_eq!(stage.get(token, "/yes").await, unavailable());
    }
    stage.away(None);
    assert_eq!(stage.get("t-web", "/yes").await, unavailable(), "two in a row are no chance");
    assert_eq!(stage.asked(), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_token_whose_review_fails_is_left_alone_for_a_second() {
    let stage = Stage::new();
    assert_eq!(stage.get("t-web", "/yes").await, Verdict::Allowed);
    stage.away(Some(Refusal::Forbidden));
    advance(200 * SECOND).await;
    for _ in 0..100 {
        assert_eq!(stage.get("t-web", "/yes").await, Verdict::Allowed);
    }
    assert_eq!(stage.asked(), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_review_that_ends_without_a_word_is_begun_again() {
    let stage = Stage::new();
    let key = stage.reviews.key(&[b"token", b"t-web"]);
    let (sender, answer) = watch::channel(None);
    stage.reviews.desk().asking.insert(key, answer);
    drop(sender);
    assert_eq!(stage.get("t-web", "/yes").await, Verdict::Allowed);
    assert!(stage.reviews.desk().asking.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_was_allowed_does_not_wait_for_an_api_server_that_hangs() {
    let stage = Stage::new();
    assert_eq!(stage.get("t-web", "/yes").await, Verdict::Allowed);
    stage.away(Some(Refusal::Timeout));
    *stage.fake.0.delay.lock().unwrap() = 3 * SECOND;
    advance(400 * SECOND).await;
    let started = Instant::now();
    assert_eq!(stage.get("t-web", "/yes").await, Verdict::Allowed);
    assert_eq!(started.elapsed(), 3 * SECOND, "the first one finds out");
    for _ in 0..20 {
        tokio::time::sleep(5 * SECOND).await;
        let started = Instant::now();
        assert_eq!(stage.get("t-web", "/yes").await, Verdict::Allowed);
        assert_eq!(started.elapsed(), Duration::ZERO);
    }
    assert!(stage.asked().0 >= 20, "it is asked all the same");
}

#[tokio::test(start_paused = true)]
async fn requests_with_one_token_share_a_review_even_if_the_first_hangs_up() {
    let stage = Arc::new(Stage::new());
    *stage.fake.0.delay.lock().unwrap() = SECOND;
    let together: Vec<_> = (0..50)
        .map(|_| {
            let stage = stage.clone();
            tokio::spawn(async move { stage.get("t-web", "/yes").await })
        })
        .collect();
    tokio::task::yield_now().await;
    together[0].abort();
    for waiting in together.into_iter().skip(1) {
        assert_eq!(waiting.await.unwrap(), Verdict::Allowed);
    }
    assert_eq!(stage.asked(), (1, 1));
    assert_eq!(stage.health.api_reviews.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn made_up_tokens_are_asked_about_at_a_bounded_pace() {
    let stage = Stage::new();
    assert_eq!(stage.get("t-web", "/yes").await, Verdict::Allowed);
    let mut verdicts = Vec::new();
    for n in 0..100 {
        verdicts.push(stage.get(&format!("made-up-{n}"), "/yes").await);
    }
    assert_eq!(verdicts.iter().filter(|it| **it == Verdict::Unauthenticated).count(), 19, "one was web's");
    assert_eq!(verdicts.iter().filter(|it| **it == Verdict::TooMany).count(), 81);
    stage.fake.0.accounts.lock().unwrap().insert("new");
    let new = stage.get_from([10, 0, 0, 2], "t-new", "/yes").await;
    assert_eq!(new, Verdict::Allowed, "an address of its own, a pace of its own");
    advance(150 * SECOND).await;
    for n in 0..100 {
        stage.get(&format!("again-{n}"), "/yes").await;
    }
    assert_eq!(stage.get("t-web", "/yes").await, Verdict::Allowed, "who was good is asked about at once");
    advance(SECOND).await;
    let asked = stage.asked().0;
    for n in 0..100 {
        stage.get(&format!("later-{n}"), "/yes").await;
    }
    assert_eq!(stage.asked().0, asked + 10);
}

#[tokio::test(start_paused = true)]
async fn reviews_of_made_up_tokens_are_few_at_once_and_do_not_hold_up_others() {
    let stage = Arc::new(Stage::new());
    assert_eq!(stage.get("t-web", "/yes").await, Verdict::Allowed);
    advance(120 * SECOND).await;
    *stage.fake.0.delay.lock().unwrap() = 2 * SECOND;
    let flood: Vec<_> = (0..30)
        .map(|n| {
            let stage = stage.clone();
            tokio::spawn(async move { stage.get(&format!("made-up-{n}"), "/yes").await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(stage.asked().0, 1 + 4, "four at once");
    let started = Instant::now();
    let other = stage.get_from([10, 0, 0, 2], "made-up", "/yes").await;
    assert_eq!(other, Verdict::Unauthenticated, "another address has a lane of its own");
    assert_eq!(started.elapsed(), 2 * SECOND);
    let started = Instant::now();
    assert_eq!(stage.get("t-web", "/yes").await, Verdict::Allowed);
    assert_eq!(started.elapsed(), 2 * SECOND, "no longer than its own review");
    let mut verdicts = Vec::new();
    for one in flood {
        verdicts.push(one.await.unwrap());
    }
    assert_eq!(verdicts.iter().filter(|it| **it == Verdict::Unauthenticated).count(), 4);
    assert_eq!(verdicts.iter().filter(|it| **it == Verdict::TooMany).count(), 26, "nobody queues for long");
}

#[tokio::test(start_paused = true)]
async fn asking_too_much_does_not_keep_a_right_alive() {
    let stage = Stage::new();
    assert_eq!(stage.get("t-web", "/yes").await, Verdict::Allowed);
    stage.fake.0.paths.lock().unwrap().clear();
    advance(300 * SECOND).await;
    for n in 0..60 {
        stage.get("t-web", &format!("/{n}")).await;
    }
    assert_eq!(stage.get("t-web", "/yes").await, Verdict::TooMany, "and not the old allow");
    advance(SECOND).await;
    assert_eq!(stage.get("t-web", "/yes").await, denied());
}

#[tokio::test(start_paused = true)]
async fn the_right_that_was_there_is_asked_for_first() {
    let stage = Stage::new();
    let node = Right::Node { subresource: "metrics", name: "n1".to_owned() };
    let rights = [node, Right::Path("/yes".to_owned())];
    assert_eq!(stage.reviews.decide("t-web", [10, 0, 0, 1].into(), &rights).await, Verdict::Allowed);
    assert_eq!(stage.asked(), (1, 2), "the resource first");
    advance(100 * SECOND).await;
    assert_eq!(stage.reviews.decide("t-web", [10, 0, 0, 1].into(), &rights).await, Verdict::Allowed);
    assert_eq!(stage.asked(), (1, 2), "that the other one is missing need not be asked again");
    advance(250 * SECOND).await;
    assert_eq!(stage.reviews.decide("t-web", [10, 0, 0, 1].into(), &rights).await, Verdict::Allowed);
    assert_eq!(stage.asked(), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn an_account_made_anew_has_none_of_the_old_rights() {
    let stage = Stage::new();
    let question = |uid: &str| {
        let user = User { name: "web".to_owned(), uid: Some(uid.to_owned()), ..User::default() };
        (
            Question::Token { key: [1; 32], token: "t".into(), known: false, client: [10, 0, 0, 1].into() },
            Arc::new(user),
        )
    };
    let mut desk = stage.reviews.desk();
    let now = Instant::now();
    let right = |user: &Arc<User>| Question::Right {
        key: [2; 32],
        token: [1; 32],
        user: user.clone(),
        right: Right::Path("/yes".to_owned()),
    };
    let (token, old) = question("a");
    token.remember(&mut desk, now, &Said::Holder(Some(old.clone())));
    right(&old).remember(&mut desk, now, &Said::Allowed(true));
    assert!(right(&old).recall(&mut desk, now).was_allowed());
    let (token, new) = question("b");
    token.remember(&mut desk, now, &Said::Holder(Some(new.clone())));
    assert!(!right(&new).recall(&mut desk, now).was_allowed());
    right(&old).remember(&mut desk, now, &Said::Allowed(true));
    assert!(
        !right(&new).recall(&mut desk, now).was_allowed(),
        "an answer that came late is not for the new one"
    );
}
