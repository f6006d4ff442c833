//! Every input of the fuzzers' corpus, and every cut of it, through its target: the parsers hold what they
//! promise without a fuzzer at hand.

#![allow(clippy::unwrap_used, reason = "a corpus that cannot be read fails the test")]

use std::fs;
use std::path::Path;

use podvitals::fuzzing::TARGETS;

#[test]
fn every_input_of_the_corpus_keeps_the_rules() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut folders: Vec<String> = fs::read_dir(&corpus)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();
    assert_eq!(folders, TARGETS.map(|target| target.name), "one folder a target");
    for target in TARGETS {
        let inputs: Vec<_> =
            fs::read_dir(corpus.join(target.name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(inputs.len() >= 2, "{}: {} inputs", target.name, inputs.len());
        for path in inputs {
            let input = fs::read(&path).unwrap();
            println!("{}", path.display());
            (target.run)(&input);
            let step = (input.len() / 64).max(1);
            (0..input.len()).step_by(step).for_each(|end| (target.run)(&input[..end]));
        }
    }
}
