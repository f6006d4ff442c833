//! The watch against an API server that answers, refuses, breaks off, falls silent and goes back in time.

use tokio::time::Instant;

use super::*;
use crate::kubernetes::fake::After;
use crate::kubernetes::fake::FakeApi;
use crate::kubernetes::fake::Reply;
use crate::kubernetes::fake::bookmark;
use crate::kubernetes::fake::event;
use crate::kubernetes::fake::list;
use crate::kubernetes::fake::pod;
use crate::kubernetes::fake::status;
use crate::kubernetes::fake::status_object;
use crate::kubernetes::fake::uid;
use crate::kubernetes::fake::watch;

async fn following(replies: impl IntoIterator<Item = Reply>) -> (PodWatch, FakeApi) {
    let api = FakeApi::start(replies).await;
    (of(ApiServer::at(&api.url, None)), api)
}

fn of(api: ApiServer) -> PodWatch {
    PodWatch::new(api, "n1", Arc::default())
}

/// Names and UIDs' last digits: `web1 other2`.
fn names(pods: &PodWatch) -> String {
    let pods = pods.pods();
    let name = |pod: &KnownPod| {
        format!("{}{}", pod.name, pod.uid.as_ref().unwrap().as_str().chars().next_back().unwrap())
    };
    pods.iter().map(|pod| name(pod)).collect::<Vec<_>>().join(" ")
}

async fn refusal(pods: &mut PodWatch) -> Refusal {
    pods.step().await.unwrap_err().refusal()
}

async fn steps(pods: &mut PodWatch, expected: &[Step]) {
    for step in expected {
        assert_eq!(pods.step().await.unwrap(), *step);
    }
}

/// How the requests differ: `0` a list of the cache, `-` an exact one, `w7` a watch from version 7.
fn requests(api: &FakeApi) -> String {
    let part = |path: &str, name: &str| {
        let value = path.split(['?', '&']).find_map(|pair| pair.strip_prefix(&format!("{name}=")))?;
        Some(value.to_owned())
    };
    let short = |path: &String| {
        let version = part(path, "resourceVersion").unwrap_or("-".into());
        if part(path, "watch").is_some() { format!("w{version}") } else { version }
    };
    api.asked().iter().map(short).collect::<Vec<_>>().join(" ")
}

const NEWS: Step = Step::Heard { changed: true };
const NO_NEWS: Step = Step::Heard { changed: false };

#[tokio::test]
async fn one_list_of_the_cache_and_then_every_change() {
    let events = [
        event("ADDED", &pod("other", '2', 11)),
        event("MODIFIED", &pod("web", '1', 12).replace("Running", "Failed")),
    ];
    let gone = event("DELETED", &pod("web", '1', 13));
    let (mut pods, api) =
        following([list(10, &[pod("web", '1', 9)]), watch(&[events.concat(), gone], After::Hang)]).await;
    steps(&mut pods, &[Step::Listed]).await;
    assert_eq!(names(&pods), "web1");
    steps(&mut pods, &[Step::Watching, NEWS]).await;
    while names(&pods) != "other2" {
        steps(&mut pods, &[NEWS]).await;
    }
    assert_eq!(requests(&api), "0 w10");
    let asked = api.asked();
    assert!(asked[0].contains("fieldSelector=spec.nodeName%3Dn1") && asked[0].contains("NotOlderThan"));
    assert!(
        asked[1].contains("fieldSelector=spec.nodeName%3Dn1")
            && asked[1].contains("allowWatchBookmarks=true")
    );
    assert_eq!(pods.health.api_lists.load(Ordering::Relaxed), 1);
    assert_eq!(pods.health.api_watches.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_watch_that_ends_is_taken_up_where_its_last_bookmark_was_without_a_list() {
    let (mut pods, api) = following([
        list(10, &[pod("web", '1', 9)]),
        watch(&[bookmark(40)], After::End),
        watch(&[event("ADDED", &pod("other", '2', 41))], After::Reset),
        watch(&[bookmark(42)], After::Hang),
    ])
    .await;
    steps(&mut pods, &[Step::Listed, Step::Watching, NO_NEWS, Step::Ended, Step::Watching, NEWS]).await;
    assert_eq!(refusal(&mut pods).await, Refusal::Unreachable);
    assert_eq!(names(&pods), "web1 other2");
    steps(&mut pods, &[Step::Watching, NO_NEWS]).await;
    assert_eq!(requests(&api), "0 w10 w40 w41");
}

#[tokio::test]
async fn a_410_makes_the_next_step_a_list_whether_it_is_a_status_or_an_event() {
    let expired = event("ERROR", &status_object(410, "too old resource version: 10 (99)"));
    let (mut pods, api) = following([
        list(10, &[pod("web", '1', 9)]),
        status(410, "Expired"),
        list(20, &[pod("web", '1', 9), pod("other", '2', 15)]),
        watch(&[expired], After::End),
        list(30, &[pod("other", '2', 15)]),
    ])
    .await;
    steps(&mut pods, &[Step::Listed]).await;
    assert_eq!(refusal(&mut pods).await, Refusal::Expired);
    assert_eq!(names(&pods), "web1", "known names stay");
    steps(&mut pods, &[Step::Listed, Step::Watching]).await;
    assert_eq!(refusal(&mut pods).await, Refusal::Expired);
    assert_eq!(names(&pods), "web1 other2");
    steps(&mut pods, &[Step::Listed]).await;
    assert_eq!(names(&pods), "other2", "a delete that was missed is healed");
    assert_eq!(requests(&api), "0 w10 0 w20 0");
}

#[tokio::test]
async fn every_refusal_has_its_kind_and_takes_no_name_away() {
    let later = Reply::Whole(429, "retry-after: 7\r\n", status_object(429, "later"));
    let (mut pods, api) = following([
        list(10, &[pod("web", '1', 9)]),
        status(403, "pods is forbidden"),
        later,
        status(503, "starting"),
        Reply::Whole(502, "", "<html>bad gateway</html>".into()),
        watch(&[event("ERROR", &status_object(500, "etcdserver: timeout"))], After::End),
        watch(&[], After::End),
        watch(&[bookmark(11)], After::Hang),
    ])
    .await;
    steps(&mut pods, &[Step::Listed]).await;
    let error = pods.step().await.unwrap_err();
    assert_eq!((error.refusal(), error.retry_after()), (Refusal::Forbidden, None));
    assert_eq!(error.to_string(), format!("{}: watch pods: 403: pods is forbidden", api.url));
    let error = pods.step().await.unwrap_err();
    assert_eq!((error.refusal(), error.retry_after()), (Refusal::Throttled, Some(Duration::from_secs(7))));
    assert_eq!(refusal(&mut pods).await, Refusal::ServerError);
    let error = pods.step().await.unwrap_err();
    assert_eq!(error.to_string(), format!("{}: watch pods: 502: <html>bad gateway</html>", api.url));
    steps(&mut pods, &[Step::Watching]).await;
    assert_eq!(refusal(&mut pods).await, Refusal::ServerError);
    steps(&mut pods, &[Step::Watching]).await;
    assert_eq!(refusal(&mut pods).await, Refusal::Unreachable, "a watch that ends at once does not work");
    steps(&mut pods, &[Step::Watching, NO_NEWS]).await;
    assert_eq!(names(&pods), "web1");
    assert_eq!(requests(&api), "0 w10 w10 w10 w10 w10 w10 w10");
    let counted = |trouble| pods.health.counted(Room::Kubernetes, trouble);
    assert_eq!((counted(Trouble::Denied), counted(Trouble::Io)), (1, 5));
}

#[tokio::test]
async fn a_line_that_was_cut_costs_no_event() {
    let whole = event("ADDED", &pod("other", '2', 11));
    let half = whole[..whole.len() / 2].to_owned();
    let (mut pods, api) = following([
        list(10, &[pod("web", '1', 9)]),
        // Cut by the end of the body: the same version is asked for again.
        watch(std::slice::from_ref(&half), After::End),
        // Cut by a line break, and followed by another event: only a list tells what stood there.
        watch(&[format!("{half}\n{}", bookmark(12))], After::Hang),
        list(12, &[pod("web", '1', 9), pod("other", '2', 11)]),
    ])
    .await;
    steps(&mut pods, &[Step::Listed, Step::Watching]).await;
    assert_eq!(refusal(&mut pods).await, Refusal::Malformed);
    steps(&mut pods, &[Step::Watching]).await;
    assert_eq!(refusal(&mut pods).await, Refusal::Malformed);
    assert_eq!(names(&pods), "web1");
    steps(&mut pods, &[Step::Listed]).await;
    assert_eq!(names(&pods), "web1 other2");
    assert_eq!(requests(&api), "0 w10 w10 0");
}

#[tokio::test]
async fn an_event_in_pieces_is_one_event() {
    let whole = event("ADDED", &pod("other", '2', 11));
    let pieces: Vec<_> =
        whole.as_bytes().chunks(7).map(|piece| String::from_utf8(piece.to_vec()).unwrap()).collect();
    let (mut pods, _api) = following([list(10, &[]), watch(&pieces, After::Hang)]).await;
    steps(&mut pods, &[Step::Listed, Step::Watching, NEWS]).await;
    assert_eq!(names(&pods), "other2");
}

#[tokio::test]
async fn half_a_list_and_one_without_a_version_are_refused_and_change_nothing() {
    let Reply::Whole(_, _, whole) = list(10, &[pod("web", '1', 9)]) else { panic!() };
    let half = whole[..whole.len() / 2].to_owned();
    let replies = [
        Reply::Whole(200, "", half.clone()),
        watch(&[half], After::Reset),
        Reply::Whole(200, "", r#"{"items":[]}"#.into()),
        Reply::Whole(200, "", "null".into()),
        list(10, &[pod("web", '1', 9)]),
    ];
    let (mut pods, _api) = following(replies).await;
    assert_eq!(refusal(&mut pods).await, Refusal::Malformed);
    assert_eq!(refusal(&mut pods).await, Refusal::Unreachable);
    assert_eq!(refusal(&mut pods).await, Refusal::Malformed);
    assert_eq!(refusal(&mut pods).await, Refusal::Malformed);
    steps(&mut pods, &[Step::Listed]).await;
    assert_eq!(names(&pods), "web1");
}

#[tokio::test]
async fn a_token_that_was_replaced_on_disk_is_used_right_after_the_old_one_is_refused() {
    let file = std::env::temp_dir().join(format!("podvitals-token-{}", std::process::id()));
    std::fs::write(&file, "old").unwrap();
    let api = FakeApi::start([list(10, &[pod("web", '1', 9)]), watch(&[bookmark(11)], After::Hang)]).await;
    api.accept_only("old");
    let mut pods = of(ApiServer::at(&api.url, Some(&file)));
    steps(&mut pods, &[Step::Listed]).await;
    api.accept_only("new");
    std::fs::write(&file, "new").unwrap();
    assert_eq!(refusal(&mut pods).await, Refusal::Unauthorized);
    steps(&mut pods, &[Step::Watching, NO_NEWS]).await;
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn a_server_that_comes_late_is_found() {
    let address = FakeApi::nobody().await;
    let mut pods = of(ApiServer::at(&format!("http://{address}"), None));
    let error = pods.step().await.unwrap_err();
    assert_eq!(error.refusal(), Refusal::Unreachable);
    assert!(error.to_string().contains("refused"), "{error}");
    let _api = FakeApi::at(&address, [list(10, &[pod("web", '1', 9)])]).await;
    steps(&mut pods, &[Step::Listed]).await;
}

#[tokio::test]
async fn a_connection_that_is_half_open_is_given_up_after_the_idle_time() {
    let (mut pods, api) =
        following([list(10, &[pod("web", '1', 9)]), watch(&[bookmark(40)], After::Hang), Reply::Silence])
            .await;
    steps(&mut pods, &[Step::Listed, Step::Watching, NO_NEWS]).await;
    tokio::time::pause();
    let begun = Instant::now();
    steps(&mut pods, &[Step::Silent]).await;
    assert_eq!(begun.elapsed().as_secs(), IDLE.as_secs());
    let begun = Instant::now();
    let error = pods.step().await.unwrap_err();
    assert_eq!(error.refusal(), Refusal::Timeout, "{error}");
    assert_eq!(begun.elapsed().as_secs(), DEADLINE.as_secs());
    assert_eq!(requests(&api), "0 w10 w40");
    assert_eq!(names(&pods), "web1");
}

#[tokio::test]
async fn a_server_that_is_behind_takes_nothing_away_and_etcd_is_asked_once() {
    let (mut pods, api) = following([
        list(100, &[pod("web", '1', 50), pod("new", '2', 99)]),
        status(410, "Expired"),
        // Behind: without `new`, which was made at 99, and with an older `web`.
        list(80, &[pod("was", '1', 40)]),
        list(101, &[pod("web", '1', 50), pod("new", '2', 99)]),
        watch(&[event("MODIFIED", &pod("was", '1', 40))], After::Hang),
    ])
    .await;
    steps(&mut pods, &[Step::Listed]).await;
    assert_eq!(refusal(&mut pods).await, Refusal::Expired);
    steps(&mut pods, &[Step::Listed]).await;
    assert_eq!(names(&pods), "web1 new2");
    steps(&mut pods, &[Step::Listed, Step::Watching, NO_NEWS]).await;
    assert_eq!(names(&pods), "web1 new2");
    assert_eq!(requests(&api), "0 w100 0 - w101");
}

#[tokio::test]
async fn versions_that_went_back_for_good_are_believed_once_etcd_says_so() {
    let (mut pods, api) = following([
        list(100, &[pod("web", '1', 50), pod("new", '2', 99)]),
        status(410, "Expired"),
        list(60, &[pod("web", '1', 50)]),
        list(61, &[pod("web", '1', 50)]),
        watch(&[event("ADDED", &pod("next", '3', 62))], After::Hang),
    ])
    .await;
    steps(&mut pods, &[Step::Listed]).await;
    assert_eq!(refusal(&mut pods).await, Refusal::Expired);
    steps(&mut pods, &[Step::Listed, Step::Listed, Step::Watching, NEWS]).await;
    assert_eq!(names(&pods), "web1 next3");
    assert_eq!(requests(&api), "0 w100 0 - w61");
}

#[tokio::test]
async fn a_pod_of_20_megabytes_is_a_pod_like_any_other() {
    let huge = "x".repeat(20 << 20);
    let large = pod("web", '1', 9)
        .replace("\"namespace\"", &format!("\"annotations\":{{\"a\":\"{huge}\"}},\"namespace\""));
    let grown = large.replace("\"9\"", "\"11\"").replace("Running", "Failed");
    let (mut pods, _api) =
        following([list(10, &[large]), watch(&[event("MODIFIED", &grown)], After::Hang)]).await;
    steps(&mut pods, &[Step::Listed, Step::Watching, NEWS]).await;
    assert_eq!(pods.pods()[0].phase.as_deref(), Some("Failed"));
    assert!(pods.stream.as_ref().unwrap().rest.0.capacity() < 1 << 20, "the line is not kept");
}

#[tokio::test]
async fn a_name_that_is_used_again_is_another_pod() {
    let events = [event("ADDED", &pod("web", '2', 11)), event("DELETED", &pod("web", '1', 12))];
    let (mut pods, _api) = following([
        list(10, &[pod("web", '1', 9)]),
        watch(&events[..1], After::End),
        watch(&events[1..], After::Hang),
    ])
    .await;
    steps(&mut pods, &[Step::Listed, Step::Watching, NEWS]).await;
    assert_eq!(names(&pods), "web1 web2", "both, for as long as both are there");
    steps(&mut pods, &[Step::Ended, Step::Watching, NEWS]).await;
    assert_eq!(names(&pods), "web2");
}

#[tokio::test]
async fn a_pod_we_cannot_name_is_counted_and_the_others_are_named() {
    let nameless = pod("bad", '3', 8).replace(&uid('3'), "../../etc");
    let (mut pods, _api) = following([list(10, &[nameless, pod("web", '1', 9)])]).await;
    steps(&mut pods, &[Step::Listed]).await;
    assert_eq!(names(&pods), "web1");
    assert_eq!(pods.health.counted(Room::Kubernetes, Trouble::Malformed), 1);
}

#[tokio::test]
async fn after_a_break_and_two_watches_that_told_nothing_a_list_tells_that_versions_went_back() {
    let silent = || watch(&[], After::Hang);
    let (mut pods, api) = following([
        list(100, &[pod("web", '1', 50), pod("new", '2', 99)]),
        watch(&[], After::Reset),
        silent(),
        silent(),
        // From a copy of etcd made before `new` was.
        list(60, &[pod("web", '1', 50)]),
        list(60, &[pod("web", '1', 50)]),
        watch(&[event("ADDED", &pod("next", '3', 61))], After::Hang),
    ])
    .await;
    steps(&mut pods, &[Step::Listed, Step::Watching]).await;
    assert_eq!(refusal(&mut pods).await, Refusal::Unreachable);
    fall_silent(&mut pods, 2).await;
    steps(&mut pods, &[Step::Listed, Step::Listed, Step::Watching, NEWS]).await;
    assert_eq!(names(&pods), "web1 next3");
    assert_eq!(requests(&api), "0 w100 w100 w100 0 - w60");
}

/// Falls silent as often, each time for longer than a cluster does where pods change.
async fn fall_silent(pods: &mut PodWatch, times: u32) {
    for _ in 0..times {
        steps(pods, &[Step::Watching]).await;
        tokio::time::pause();
        steps(pods, &[Step::Silent]).await;
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_cluster_where_nothing_happens_is_listed_once_an_hour() {
    let in_an_hour = u32::try_from(LONG_SILENCE.as_secs().div_ceil(IDLE.as_secs())).unwrap();
    let silent = |_| watch(&[], After::Hang);
    let hour = || (0..in_an_hour).map(silent);
    let replies = [list(10, &[])].into_iter().chain(hour()).chain([list(10, &[])]);
    let (mut pods, api) = following(replies.chain(hour()).chain([list(10, &[])])).await;
    for _ in 0..2 {
        steps(&mut pods, &[Step::Listed]).await;
        fall_silent(&mut pods, in_an_hour).await;
    }
    steps(&mut pods, &[Step::Listed]).await;
    let watches = " w10".repeat(in_an_hour as usize);
    assert_eq!(requests(&api), format!("0{watches} 0{watches} 0"));
}

#[tokio::test]
async fn a_break_is_looked_into_ever_more_rarely_until_something_is_told() {
    let silent = |_| watch(&[], After::Hang);
    let replies = [list(10, &[]), watch(&[], After::Reset)].into_iter().chain((0..2).map(silent));
    let replies = replies.chain([list(10, &[])]).chain((0..2).map(silent)).chain([list(10, &[])]);
    let replies = replies.chain([watch(&[bookmark(11)], After::Hang)]).chain((0..4).map(silent));
    let (mut pods, api) = following(replies).await;
    steps(&mut pods, &[Step::Listed, Step::Watching]).await;
    assert_eq!(refusal(&mut pods).await, Refusal::Unreachable);
    fall_silent(&mut pods, 2).await;
    steps(&mut pods, &[Step::Listed]).await;
    fall_silent(&mut pods, 2).await;
    steps(&mut pods, &[Step::Listed, Step::Watching, NO_NEWS]).await;
    tokio::time::pause();
    steps(&mut pods, &[Step::Silent]).await;
    tokio::time::resume();
    fall_silent(&mut pods, 4).await;
    assert_eq!(requests(&api), "0 w10 w10 w10 0 w10 w10 0 w10 w11 w11 w11 w11");
}

#[tokio::test]
async fn a_line_that_is_too_long_is_not_asked_for_again() {
    let (mut pods, api) = following([
        list(10, &[pod("web", '1', 9)]),
        watch(&[event("MODIFIED", &pod("web", '1', 11)), "x".repeat(LONGEST_LINE + 1)], After::Hang),
        list(12, &[pod("web", '1', 11), pod("other", '2', 12)]),
    ])
    .await;
    steps(&mut pods, &[Step::Listed, Step::Watching, NO_NEWS]).await;
    assert_eq!(refusal(&mut pods).await, Refusal::Malformed);
    steps(&mut pods, &[Step::Listed]).await;
    assert_eq!(names(&pods), "web1 other2");
    assert_eq!(requests(&api), "0 w10 0");
}

#[tokio::test]
async fn a_large_line_is_parsed_on_another_thread() {
    let parts = "[],".repeat(10 << 20);
    let parts = format!("\"managedFields\":[{parts}[]],\"namespace\"");
    let large = pod("web", '1', 11).replace("\"namespace\"", &parts).replace("Running", "Failed");
    let (mut pods, _api) =
        following([list(10, &[pod("web", '1', 9)]), watch(&[event("MODIFIED", &large)], After::Hang)]).await;
    steps(&mut pods, &[Step::Listed, Step::Watching]).await;
    let alone = Instant::now();
    parse(event("MODIFIED", &large).as_bytes()).unwrap();
    let alone = alone.elapsed();
    // While this task is polled, no other one runs on its thread.
    let mut longest = Duration::ZERO;
    let mut step = std::pin::pin!(pods.step());
    let step = std::future::poll_fn(|context| {
        let begun = Instant::now();
        let polled = step.as_mut().poll(context);
        longest = longest.max(begun.elapsed());
        polled
    });
    assert_eq!(step.await.unwrap(), NEWS);
    assert!(longest < alone / 2, "{longest:?} of {alone:?}");
}

#[tokio::test]
async fn a_pod_that_is_cut_is_counted() {
    let many = |version| {
        let more = r#"{"name":"more"},"#.repeat(300);
        pod("web", '1', version).replacen(r#""containers":["#, &format!(r#""containers":[{more}"#), 1)
    };
    let (mut pods, _api) = following([
        list(10, &[many(9), pod("b", '2', 9)]),
        watch(&[event("MODIFIED", &many(11))], After::Hang),
    ])
    .await;
    steps(&mut pods, &[Step::Listed]).await;
    assert_eq!(pods.health.counted(Room::Kubernetes, Trouble::Truncated), 1);
    steps(&mut pods, &[Step::Watching, NO_NEWS]).await;
    assert_eq!(pods.health.counted(Room::Kubernetes, Trouble::Truncated), 2);
}
