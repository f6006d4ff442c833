//! Addresses that can be had, and those that cannot.

use super::*;
use crate::command::doctor::Verdict;

const LOOPBACK: &str = "127.0.0.1:9790";

fn places(listen: Listen, tried: Tried<()>) -> Places {
    Places { listen: vec![(listen, tried)], files: Vec::new(), known_clients: true, insecure_public: false }
}

fn verdict(places: &Places) -> Verdict {
    let checks = judge(places);
    assert_eq!(checks.len(), 1);
    let check = &checks[0];
    assert_eq!(check.verdict == Verdict::Problem, check.breaks == [Core::Serving], "{check:?}");
    assert_eq!(check.verdict == Verdict::Ok, check.cure.is_none(), "{check:?}");
    check.verdict
}

#[test]
fn an_address_is_free_taken_or_refused() {
    let plain = || Listen::Plain(LOOPBACK.parse().unwrap());
    assert_eq!(verdict(&places(plain(), Ok(()))), Verdict::Ok);
    assert_eq!(verdict(&places(plain(), Err(Failure::Taken))), Verdict::Notice);
    let low = places(plain(), Err(Failure::Denied));
    assert_eq!(verdict(&low), Verdict::Problem);
    assert!(judge(&low)[0].cure.as_ref().unwrap().contains("1023"));
    let foreign = places(plain(), Err(Failure::Other("cannot assign".into())));
    assert!(judge(&foreign)[0].cure.as_ref().unwrap().contains("[::1]"));
    let unix = places(Listen::Unix("/run/p.sock".into()), Err(Failure::Denied));
    assert!(judge(&unix)[0].cure.as_ref().unwrap().contains("emptyDir"));
}

#[test]
fn https_needs_somebody_who_can_be_told_apart() {
    let tls = || Listen::Tls("[::]:9791".parse().unwrap());
    assert_eq!(verdict(&places(tls(), Ok(()))), Verdict::Ok);
    let unknown = Places { known_clients: false, ..places(tls(), Ok(())) };
    assert_eq!(verdict(&unknown), Verdict::Problem);
    assert!(judge(&unknown)[0].cure.as_ref().unwrap().contains("--client-ca"));
    assert_eq!(verdict(&Places { insecure_public: true, ..unknown }), Verdict::Notice, "open to everybody");
    let local = Places { insecure_public: true, ..places(Listen::Plain(LOOPBACK.parse().unwrap()), Ok(())) };
    assert_eq!(verdict(&local), Verdict::Ok);
}

#[test]
fn files_of_tls_have_to_be_readable() {
    let with = |tried| Places {
        listen: Vec::new(),
        files: vec![("/tls/key".into(), tried)],
        ..places(Listen::Unix("/x".into()), Ok(()))
    };
    assert_eq!(verdict(&with(Ok(()))), Verdict::Ok);
    assert_eq!(verdict(&with(Err(Failure::Denied))), Verdict::Problem);
}
