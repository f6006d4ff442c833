//! Waiting for something to become so, with a deadline and a memory of what was there instead.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

const STEP: Duration = Duration::from_millis(100);

/// Asks until the answer is `Some`. `None` is *not yet*; so is an error, whose text is told when the
/// patience ends: `Err(anyhow!("phase is Pending"))` is a good way to say what was seen instead.
pub async fn wait_for<T>(
    what: &str,
    patience: Duration,
    mut ask: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + patience;
    let mut last = String::new();
    loop {
        match tokio::time::timeout_at(deadline, ask()).await {
            Ok(Ok(Some(value))) => return Ok(value),
            Ok(Ok(None)) => "not yet".clone_into(&mut last),
            Ok(Err(error)) => last = format!("{error:#}"),
            Err(_) if last.is_empty() => "no answer".clone_into(&mut last),
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            bail!("waited {} s for {what}; last seen: {last}", patience.as_secs());
        }
        sleep(STEP).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[tokio::test]
    async fn what_was_seen_last_is_told() {
        let mut asked = 0;
        let result = wait_for::<()>("a pod", Duration::from_millis(250), async || {
            asked += 1;
            if asked == 1 { Ok(None) } else { Err(anyhow!("phase is Pending")) }
        });
        let said = result.await.unwrap_err().to_string();
        assert_eq!(said, "waited 0 s for a pod; last seen: phase is Pending");
        assert!(asked > 1);
    }

    #[tokio::test]
    async fn an_answer_that_never_comes_does_not_hold_us() {
        let never = async || std::future::pending::<Result<Option<()>>>().await;
        let said = wait_for("it", Duration::from_millis(10), never).await.unwrap_err().to_string();
        assert!(said.ends_with("last seen: no answer"), "{said}");
    }
}
