//! Tests of `sieve`.

use super::super::parts::LONGEST_VALUE;
use super::*;

/// What is left of an answer that comes in pieces of a few bytes.
fn sift(question: Question, answer: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let mut sieve = Sieve::new(question);
    answer.chunks(11).try_for_each(|piece| sieve.pour(piece))?;
    sieve.finish()
}

fn sifted(question: Question, text: &str) -> String {
    String::from_utf8(sift(question, text.as_bytes()).unwrap()).unwrap()
}

/// A row as dockerd 20.10.24 tells it, shortened.
const LIST: &str = r#"[{"Id":"8dfa","Names":["/other/k8s_app","/k8s_app_web_default_uid_0"],"Image":"load:1",
    "ImageID":"sha256:00","Command":"/load idle","Created":1795222923,"Ports":[{"PrivatePort":80,"Type":"tcp"}],
    "Labels":{"annotation.kubectl.kubernetes.io/last-applied-configuration":"{\"a\":1}","app":"web",
    "io.kubernetes.container.logpath":"/var/log/x","io.kubernetes.docker.type":"container"},
    "State":"running","Status":"Up 3 minutes","HostConfig":{"NetworkMode":"default"},
    "NetworkSettings":{"Networks":{}},"Mounts":[]}]"#;

#[test]
fn of_a_list_only_what_is_used_is_left() {
    assert_eq!(
        sifted(Question::List, LIST),
        r#"[{"Id":"8dfa","Names":["/k8s_app_web_default_uid_0"],"Image":"load:1","Created":1795222923,"State":"running","Labels":{"app":"web","io.kubernetes.docker.type":"container"}}]"#
    );
}

#[test]
fn a_name_begins_with_any_character_or_with_none() {
    for (names, own) in [
        (r#"["é"]"#, r#","Names":["é"]"#),
        (r#"["","/k8s_app"]"#, r#","Names":[""]"#),
        (r#"["/","é/k8s_app"]"#, r#","Names":["/"]"#),
        (r#"["é/k8s_app","//k8s_app","/a/b","𝄞"]"#, r#","Names":["𝄞"]"#),
        (r#"["a/b"]"#, ""),
        ("[]", ""),
        ("7", ""),
    ] {
        let text = format!(r#"[{{"Id":"8dfa","Names":{names}}}]"#);
        assert_eq!(sifted(Question::List, &text), format!(r#"[{{"Id":"8dfa"{own}}}]"#), "{names}");
    }
}

#[test]
fn of_an_inspection_no_environment_and_no_secret_is_left() {
    let text = r#"{"Id":"8dfa","State":{"Pid":7,"StartedAt":"x","OOMKilled":true,"ExitCode":137,"Health":{"Log":[]}},"Config":{"Image":"a","Env":["SECRET=1"]}}"#;
    assert_eq!(
        sifted(Question::Inspect, text),
        r#"{"State":{"Pid":7,"StartedAt":"x","OOMKilled":true,"ExitCode":137},"Config":{"Image":"a"}}"#
    );
}

#[test]
fn every_cut_of_a_list_is_read_or_refused() {
    for end in 0..LIST.len() {
        assert!(sift(Question::List, &LIST.as_bytes()[..end]).is_err(), "{end}");
    }
}

#[test]
fn a_list_of_many_small_rows_is_cut_and_the_cut_is_one_empty_row() {
    let many = format!("[{}]", vec![r#"{"Id":"a"}"#; MOST_ROWS + 9].join(","));
    let rows: Vec<serde_json::Value> = serde_json::from_str(&sifted(Question::List, &many)).unwrap();
    assert_eq!(rows.len(), MOST_ROWS + 1);
    assert_eq!(rows[MOST_ROWS], serde_json::json!({}));
}

#[test]
fn a_row_without_end_costs_itself() {
    let long = format!(r#"{{"Id":"b","Ports":[{}1]}}"#, "1,".repeat(LONGEST_VALUE / 2));
    let text = format!(r#"[{{"Id":"a"}},{long},{{"Id":"c"}}]"#);
    assert_eq!(sifted(Question::List, &text), r#"[{"Id":"a"},{},{"Id":"c"}]"#);
}

#[test]
fn however_much_is_kept_already_every_row_says_whose_it_is_until_no_more_is_kept() {
    let label = |n| format!(r#""label-{n:03}":"{}""#, "x".repeat(1 << 10));
    let labels: Vec<_> = (0..MOST_LABELS).map(label).collect();
    let row = format!(r#"{{"Labels":{{{},"io.kubernetes.pod.uid":"u"}}}}"#, labels.join(","));
    let text = format!("[{}]", vec![row.as_str(); 60].join(","));
    let sifted = sifted(Question::List, &text);
    assert!(sifted.len() < MOST_WITH_ALL_LABELS + row.len() + 60 * 64, "{}", sifted.len());
    let rows: Vec<serde_json::Value> = serde_json::from_str(&sifted).unwrap();
    let kept: Vec<_> = rows.iter().map(|row| row["Labels"].as_object().unwrap().len()).collect();
    let whole = MOST_WITH_ALL_LABELS.div_ceil(row.len() + 1);
    assert_eq!(kept[..whole], vec![MOST_LABELS + 1; whole]);
    assert_eq!(kept[whole..], vec![1; 60 - whole]);
    assert!(rows.iter().all(|row| row["Labels"]["io.kubernetes.pod.uid"] == "u"));
}

#[test]
fn of_many_labels_the_first_are_kept_and_those_that_name_the_pod_always() {
    let others: String = (0..500).map(|n| format!(r#""label-{n:03}":"x","#)).collect();
    let text = format!(r#"[{{"Labels":{{{others}"io.kubernetes.pod.uid":"u"}}}}]"#);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&sifted(Question::List, &text)).unwrap();
    let labels = rows[0]["Labels"].as_object().unwrap();
    assert_eq!((labels.len(), labels["io.kubernetes.pod.uid"].as_str()), (MOST_LABELS + 1, Some("u")));
    assert!(labels.contains_key("label-127") && !labels.contains_key("label-128"));
}

#[test]
fn the_question_is_told_by_its_path_with_a_version_or_without() {
    for (path, question) in [
        ("/version", Question::Version),
        ("/v1.41/containers/json", Question::List),
        ("/containers/json", Question::List),
        ("/v1.41/containers/8dfa/json", Question::Inspect),
        ("/events", Question::Events),
    ] {
        assert_eq!(Question::of(path), question, "{path}");
    }
}
