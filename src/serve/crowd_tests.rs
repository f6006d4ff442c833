//! A full house: who stays, who goes, and how long anybody is waited for.

use super::*;

const FAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const FARTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
const HERE: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

fn crowd() -> Arc<Crowd> {
    let limits =
        Limits { connections: 4, connections_per_address: 2, kept_for_health: 1, ..Limits::default() };
    Crowd::new(limits, Arc::default())
}

fn is_open(place: &Place) -> bool {
    place.0.crowd.visits().contains_key(&place.0.number)
}

#[tokio::test]
async fn a_full_house_sends_the_oldest_silent_visit_away() {
    let crowd = crowd();
    let places: Vec<_> = (0..4).map(|_| crowd.admit(HERE).unwrap()).collect();
    assert!(places[0].visit().begin(false));
    let fifth = crowd.admit(HERE).unwrap();
    assert_eq!(places.iter().map(is_open).collect::<Vec<_>>(), [true, false, true, true]);
    places[1].visit().evicted().await;
    assert!(is_open(&fifth));
    assert_eq!(crowd.health.connections.load(Ordering::Relaxed), 4);
    assert_eq!(crowd.health.connections_refused.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn who_never_sent_a_request_goes_before_who_did() {
    let crowd = crowd();
    let places: Vec<_> = (0..4).map(|_| crowd.admit(HERE).unwrap()).collect();
    for place in &places[..3] {
        place.visit().begin(false);
        place.visit().handed_over();
        place.visit().flushed();
    }
    let _fifth = crowd.admit(HERE).unwrap();
    assert_eq!(places.iter().map(is_open).collect::<Vec<_>>(), [true, true, true, false]);
    let _sixth = crowd.admit(HERE).unwrap();
    assert!(is_open(&places[0]), "the fifth has never sent anything");
}

#[tokio::test(start_paused = true)]
async fn who_has_made_no_progress_for_longest_goes_first() {
    let limits = Limits { connections: 3, ..*crowd().limits() };
    let crowd = Crowd::new(limits, Arc::default());
    let ms = Duration::from_millis;
    let speaks = crowd.admit(HERE).unwrap();
    speaks.visit().reached(Reached::Spoke);
    tokio::time::advance(ms(40)).await;
    let silent: Vec<_> = (0..10).map(|_| crowd.admit(HERE).unwrap()).collect();
    assert!(is_open(&speaks), "ten who came after it and say nothing");
    tokio::time::advance(ms(40)).await;
    speaks.visit().reached(Reached::Agreed);
    tokio::time::advance(ms(90)).await;
    let _more: Vec<_> = (0..10).map(|_| crowd.admit(HERE).unwrap()).collect();
    assert!(is_open(&speaks) && !silent.iter().any(is_open));
    tokio::time::advance(ms(50)).await;
    let newcomer = crowd.admit(HERE).unwrap();
    let _another = crowd.admit(HERE).unwrap();
    let _third = crowd.admit(HERE).unwrap();
    assert!(!is_open(&speaks) && is_open(&newcomer), "a newcomer stays, who was quick once does not");
}

#[tokio::test]
async fn one_address_cannot_fill_the_house_but_loopback_may() {
    let crowd = crowd();
    let far: Vec<_> = (0..3).map(|_| crowd.admit(FAR).unwrap()).collect();
    assert_eq!(far.iter().map(is_open).collect::<Vec<_>>(), [false, true, true]);
    far[1].visit().begin(true);
    far[2].visit().begin(true);
    assert!(crowd.admit(FAR).is_none());
    assert!(crowd.admit(FARTHER).is_some());
    let mapped = "::ffff:127.0.0.1".parse().unwrap();
    let here: Vec<_> = (0..2).map(|_| crowd.admit(mapped).unwrap()).collect();
    assert!(here.iter().all(is_open));
}

#[tokio::test]
async fn the_last_slots_are_for_health() {
    let crowd = crowd();
    let places: Vec<_> = (0..4).map(|_| crowd.admit(HERE).unwrap()).collect();
    let begun: Vec<_> = places[..3].iter().map(|place| place.visit().begin(false)).collect();
    assert_eq!(begun, [true, true, true]);
    assert!(!places[3].visit().begin(false), "the fourth slot is kept");
    assert!(places[3].visit().begin(true));
    drop(places);
    assert!(crowd.busy.is_empty());
    assert_eq!(crowd.health.connections.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn requests_that_share_a_connection_are_as_many_and_the_oldest_is_waited_for() {
    let crowd = crowd();
    let (place, start) = (crowd.admit(HERE).unwrap(), Instant::now());
    let (visit, second) = (place.visit(), Duration::from_secs(1));
    let left = |visit: &Visit| (visit.deadline() - start).as_secs();
    let old = visit.begin_stream(false);
    tokio::time::advance(second).await;
    let young: Vec<_> = (0..3).map(|_| visit.begin_stream(false)).collect();
    assert_eq!(young.iter().map(|it| it.admitted).collect::<Vec<_>>(), [true, true, false]);
    assert!(visit.begin_stream(true).admitted, "health has a slot of its own");
    assert_eq!((left(visit), visit.in_flight()), (10, true));
    drop(old);
    assert_eq!((left(visit), visit.in_flight()), (11, true));
    visit.flushed();
    assert!(visit.in_flight(), "what was written was not the last of it");
    drop(young);
    assert!(visit.in_flight(), "not written yet");
    visit.flushed();
    assert_eq!((left(visit), visit.is_idle()), (31, true));
    assert!(crowd.busy.is_empty());
}

#[tokio::test]
async fn answers_nobody_reads_cannot_take_all_slots() {
    let limits = Limits { connections: 5, ..*crowd().limits() };
    let crowd = Crowd::new(limits, Arc::default());
    let (far, farther, here) = (crowd.admit(FAR), crowd.admit(FARTHER), crowd.admit(HERE));
    let (far, farther, here) = (far.unwrap(), farther.unwrap(), here.unwrap());
    let admitted = |held: &[Stream]| held.iter().filter(|it| it.admitted).count();
    let held: Vec<_> = (0..20).map(|_| far.visit().begin_stream(false)).collect();
    assert_eq!(admitted(&held), 2, "as many as connections");
    assert!(farther.visit().begin(false), "there is room for another");
    let more: Vec<_> = (0..20).map(|_| here.visit().begin_stream(false)).collect();
    assert_eq!(admitted(&more), 1, "who was refused holds no slot, here up to the whole");
    drop((held, more));
    assert!(far.visit().begin_stream(false).admitted);
    drop((far, farther, here));
    assert!(crowd.busy.is_empty());
}

#[tokio::test]
async fn patience_depends_on_what_is_awaited() {
    let crowd = crowd();
    let (place, start) = (crowd.admit(HERE).unwrap(), Instant::now());
    let visit = place.visit();
    let left = |visit: &Visit| (visit.deadline() - start).as_secs_f64().round();
    assert_eq!(left(visit), 5.0, "the first request may take as long as a head");
    visit.received();
    assert_eq!(left(visit), 5.0, "bytes do not buy time");
    visit.begin(false);
    assert_eq!(left(visit), 10.0, "the whole request");
    visit.wrote(true);
    assert_eq!(left(visit), 5.0, "a client that does not read");
    visit.wrote(false);
    visit.flushed();
    assert_eq!(left(visit), 10.0, "a flush in between is not the end");
    visit.handed_over();
    visit.flushed();
    assert_eq!(left(visit), 30.0, "idle");
    visit.received();
    assert_eq!(left(visit), 5.0, "the next head");
}

#[tokio::test]
async fn answers_that_go_on_are_bounded_in_all_and_for_each_address() {
    let limits = Limits { connections: 9, streams: 3, streams_per_address: 1, ..Limits::default() };
    let crowd = Crowd::new(limits, Arc::default());
    let [here, also_here, again, far, also_far, farther] =
        [HERE, HERE, HERE, FAR, FAR, FARTHER].map(|address| crowd.admit(address).unwrap());
    let of_far = far.visit().go_live().unwrap();
    assert!(also_far.visit().go_live().is_none(), "one of that address there is");
    let of_here = (here.visit().go_live().unwrap(), also_here.visit().go_live().unwrap());
    assert!(again.visit().go_live().is_none() && farther.visit().go_live().is_none(), "three there are");
    drop(of_far);
    assert!(farther.visit().go_live().is_some());
    assert!(also_far.visit().go_live().is_some());
    drop(of_here);
    assert!(crowd.live.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_goes_on_is_waited_for_until_the_client_takes_no_more() {
    let crowd = crowd();
    let limits = *crowd.limits();
    let place = crowd.admit(HERE).unwrap();
    let visit = place.visit();
    assert!(visit.begin(false));
    let streaming = visit.go_live().unwrap();
    let hour = Duration::from_secs(3600);
    tokio::time::advance(hour).await;
    assert!(visit.deadline() > Instant::now() + hour && visit.in_flight());
    streaming.given();
    tokio::time::advance(limits.write / 2).await;
    assert_eq!(visit.deadline(), Instant::now() + limits.write / 2);
    streaming.took();
    assert!(visit.deadline() > Instant::now() + hour);
    drop(streaming);
    assert_eq!(visit.deadline(), Instant::now() + limits.request, "what is left to write has its time");
    visit.handed_over();
    visit.flushed();
    assert!(visit.is_idle());
}

#[tokio::test(start_paused = true)]
async fn beside_an_answer_that_goes_on_a_request_has_its_deadline() {
    let crowd = crowd();
    let limits = *crowd.limits();
    let place = crowd.admit(HERE).unwrap();
    let visit = place.visit();
    let mut first = visit.begin_stream(false);
    let streaming = first.go_live().unwrap();
    let hour = Duration::from_secs(3600);
    assert!(visit.deadline() > Instant::now() + hour);
    let second = visit.begin_stream(false);
    assert_eq!(visit.deadline(), Instant::now() + limits.request);
    drop(second);
    assert!(visit.deadline() > Instant::now() + hour && visit.in_flight());
    drop(streaming);
    drop(first);
    visit.flushed();
    assert!(visit.is_idle());
    assert!(crowd.live.is_empty() && crowd.busy.is_empty());
}
