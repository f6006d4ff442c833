//! Documents of which two threads write a half each: nobody can tell.

use std::io::Read;
use std::thread::available_parallelism;

use flate2::read::GzDecoder;
use podvitals::config::Listen;
use podvitals::model::snapshot::Snapshot;
use podvitals::serve::{Access, Desk, Limits, Published, Sheets, bind, measured};

use super::client::server_showing;
use super::series::in_every_form;
use super::{earlier, node, past};

const PODS: usize = 400;

fn in_two_pieces(Sheets([first, second]): &Sheets) -> bool {
    assert!(!first.is_empty());
    !second.is_empty()
}

fn both(snapshot: &Snapshot) -> [Sheets; 2] {
    let cadvisor = measured::cadvisor(snapshot, &earlier::machine()).next().unwrap().1(Sheets::default());
    [cadvisor, measured::pods(snapshot).next().unwrap().1(Sheets::default())]
}

fn series(document: Sheets) -> usize {
    let text = String::from_utf8(document.joined()).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).count()
}

#[tokio::test]
async fn a_large_document_arrives_whole_in_every_form_and_coding() {
    let large = node::repeated(PODS);
    let two = available_parallelism().unwrap().get() > 1;
    assert_eq!(both(&large).each_ref().map(in_two_pieces), [two, two]);
    let counted = |pods| both(&node::repeated(pods)).map(series);
    let ([few, few_ours], [more, more_ours]) = (counted(2), counted(3));
    let expected = |few: usize, more: usize| few + (PODS - 2) * (more - few);

    let bound = bind(&[Listen::Plain("127.0.0.1:0".parse().unwrap())], Access::default()).await.unwrap();
    let (mut published, history) = (None, past::history(&large));
    let keep = |all: &mut Published| {
        all.history = history;
        published = Some(all.clone());
    };
    let server = server_showing(bound, Limits::default(), keep, Some(large));
    let desk = Desk::new(published.unwrap());
    for (path, expected) in
        [("/metrics/cadvisor", expected(few, more)), ("/metrics/pods", expected(few_ours, more_ours))]
    {
        let told = in_every_form(&server, path).await;
        assert_eq!(told.order.len(), told.samples.len(), "{path}: a series is there twice");
        assert_eq!(told.order.len(), expected, "{path}");

        let plain = server.get(path).await;
        let length = plain.body.len().to_string();
        assert_eq!(plain.header("content-length"), length);
        let head = server.ask("HEAD", path, &[]).await;
        assert_eq!((head.header("content-length"), head.body.len()), (length.as_str(), 0));
        let zipped = server.ask("GET", path, &[("Accept-Encoding", "gzip")]).await;
        assert_eq!(zipped.header("content-encoding"), "gzip");
        let mut unzipped = Vec::new();
        GzDecoder::new(&*zipped.body).read_to_end(&mut unzipped).unwrap();
        assert!(unzipped == plain.body, "{path}: zipped it is another");
        assert!(desk.answer(path).await.body == plain.body, "{path}: within this process it is another");
    }
}
