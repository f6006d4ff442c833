//! The two ways to the same figures, taken at the same time: `kubectl port-forward` to the plain
//! listener, and a scraper with a ServiceAccount's token at the TLS listener.

use std::time::Duration;

use podvitals::model::document::Node;
use podvitals::model::document::PodList;
use podvitals_testbed::PortForward;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::accounts::Account;
use crate::reader::Reader;
use crate::stage::RELEASE;
use crate::stage::Stage;

const PATIENCE: Duration = Duration::from_secs(20);
const PODS: &str = "/api/v1/pods";

pub(crate) struct Both<'a> {
    _forward: PortForward,
    plain: Reader,
    scraper: Reader,
    account: Account<'a>,
}

impl<'a> Both<'a> {
    /// The scraper's rights are those of the ClusterRole that the chart brings for readers.
    pub(crate) async fn open(stage: &'a Stage, account: &str) -> Self {
        let (forward, plain) = stage.port_forward().await;
        let account = Account::make(&stage.cluster, account).await.bind(&format!("{RELEASE}-reader")).await;
        let scraper = stage.scraper(Some(account.token().await)).await;
        Self { _forward: forward, plain, scraper, account }
    }

    pub(crate) async fn close(self) {
        self.account.remove().await;
    }

    /// The first sweep after `tick` that both were shown, which must be the same to the byte.
    pub(crate) async fn list_after(&self, tick: u64) -> PodList {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (plain, scraped) = tokio::join!(self.plain.get(PODS), self.scraper.get(PODS));
            assert_eq!((plain.status, scraped.status), (200, 200), "{} {}", plain.body, scraped.body);
            let (seen, other): (PodList, PodList) = (parse(&plain.body), parse(&scraped.body));
            // Otherwise a sweep ended between the two.
            if seen.tick == other.tick && seen.tick > tick {
                assert_eq!(plain.body, scraped.body, "sweep {} is not the same for both", seen.tick);
                return seen;
            }
            assert!(Instant::now() < deadline, "no sweep after {tick}, but {} and {}", seen.tick, other.tick);
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// A sweep begun after this call.
    pub(crate) async fn next_list(&self) -> PodList {
        let tick = self.list_after(0).await.tick;
        self.list_after(tick + 1).await
    }

    /// So many sweeps, none of them missed between the first and the last.
    pub(crate) async fn successive(&self, wanted: usize) -> Vec<PodList> {
        let deadline = Instant::now() + 3 * PATIENCE;
        let mut lists: Vec<PodList> = vec![self.next_list().await];
        while lists.len() < wanted {
            let last = lists.last().map_or(0, |list| list.tick);
            let next = self.list_after(last).await;
            if next.tick != last + 1 {
                assert!(Instant::now() < deadline, "sweep {} was missed, like some before it", last + 1);
                lists.clear();
            }
            lists.push(next);
        }
        lists
    }

    /// The node, which each of them is shown.
    pub(crate) async fn nodes(&self) -> [Node; 2] {
        [self.plain.json("/api/v1/node").await, self.scraper.json("/api/v1/node").await]
    }
}

fn parse<T: DeserializeOwned>(body: &str) -> T {
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}
