//! What is gone stays counted.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::find::pod;
use crate::stage::DRIVERS;
use crate::stage::Stage;

pub(crate) async fn what_a_removed_container_used_stays_with_its_pod(stage: Arc<Stage>) {
    for driver in DRIVERS {
        let mut made = stage.pod(driver).start().unwrap();
        let burner = made.add_container().unwrap();
        let mut burning = made.run_in(&burner, &["load", "spin", "--seconds", "2"]).unwrap();
        assert!(burning.wait().unwrap().success());
        let before = pod(&stage.settled(&made).await, made.uid()).cpu.clone().unwrap();
        made.remove_container(burner.id()).unwrap();
        let mut last = before.usage_nanoseconds;
        assert!(last >= 500_000_000, "two seconds were burnt, or most of them: {last} ns");
        for _ in 0..3 {
            let list = stage.daemon.next_list().await;
            let found = pod(&list, made.uid());
            let cpu = found.cpu.as_ref().unwrap();
            assert!(cpu.usage_nanoseconds >= last, "{} after {last}", cpu.usage_nanoseconds);
            // Too short a window after a sweep that was held up has no rate.
            assert!(
                cpu.cores.is_none_or(|cores| cores < 0.5),
                "{cpu:?}: nothing burns any more, and nothing is negative"
            );
            last = cpu.usage_nanoseconds;
            assert!(found.containers.iter().all(|one| one.id.as_deref() != Some(burner.id())));
        }
        let uid = made.uid().to_owned();
        drop(made);
        sleep(Duration::from_millis(600)).await;
        let list = stage.daemon.next_list().await;
        assert!(list.pods.iter().all(|pod| pod.runtime_uid != uid), "a pod that has ended is shown");
    }
}
