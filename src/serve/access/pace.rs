//! So many a second, with a few in advance: a bucket that fills by itself.

use tokio::time::Instant;

/// The bucket.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: f64,
    most: f64,
    level: f64,
    at: Instant,
}

impl Pace {
    /// A full one.
    pub(super) fn new(per_second: u32, most: u32) -> Self {
        let most = f64::from(most);
        Self { per_second: f64::from(per_second), most, level: most, at: Instant::now() }
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self) -> bool {
        let now = Instant::now();
        self.level = (self.level + (now - self.at).as_secs_f64() * self.per_second).min(self.most);
        self.at = now;
        let enough = self.level >= 1.0;
        if enough {
            self.level -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_burst_empties_it_and_time_fills_it() {
        let mut pace = Pace::new(20, 40);
        let taken = |pace: &mut Pace| (0..100).filter(|_| pace.take()).count();
        assert_eq!(taken(&mut pace), 40);
        tokio::time::advance(Duration::from_millis(505)).await;
        assert_eq!(taken(&mut pace), 10);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(taken(&mut pace), 40, "it does not overflow");
    }
}
