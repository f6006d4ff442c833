//! ServiceAccounts that tests read with, and what they may do.

use std::collections::BTreeSet;
use std::time::Duration;

use podvitals_testbed::Cluster;
use podvitals_testbed::wait_for;
use serde_json::Value;
use serde_json::json;

use crate::stage::PATIENCE;

/// Long enough for any test; Kubernetes refuses less than ten minutes.
const TOKEN: Duration = Duration::from_secs(3600);

/// A ServiceAccount in namespace `default`, gone when [`Self::remove`] is called.
pub(crate) struct Account<'a> {
    cluster: &'a Cluster,
    name: String,
    /// Kind and name of what was made for it besides.
    made: Vec<[String; 2]>,
}

impl<'a> Account<'a> {
    pub(crate) async fn make(cluster: &'a Cluster, name: &str) -> Self {
        cluster.kubectl(&["create", "serviceaccount", name, "-n", "default"]).await.unwrap();
        Self { cluster, name: name.to_owned(), made: Vec::new() }
    }

    /// The ClusterRole of that name, which grants it something new, holds for it when this returns.
    pub(crate) async fn bind(mut self, role: &str) -> Self {
        let before = self.rights().await.unwrap();
        let (binding, account) = (format!("{}-{role}", self.name), format!("default:{}", self.name));
        let (role, account) = (format!("--clusterrole={role}"), format!("--serviceaccount={account}"));
        let arguments = ["create", "clusterrolebinding", &binding, &role, &account];
        self.cluster.kubectl(&arguments).await.unwrap();
        self.made.push(["clusterrolebinding".to_owned(), binding]);
        // Whoever decides upon requests hears of it in its own time, and podvitals remembers a no.
        let bound = wait_for("the binding to hold", PATIENCE, async || {
            Ok((self.rights().await? != before).then_some(()))
        });
        bound.await.unwrap();
        self
    }

    /// What the API server would let it do now.
    async fn rights(&self) -> anyhow::Result<BTreeSet<String>> {
        let account = format!("--as=system:serviceaccount:default:{}", self.name);
        let said = self.cluster.kubectl(&["auth", "can-i", "--list", "--no-headers", &account]).await?;
        Ok(said.lines().map(str::to_owned).collect())
    }

    /// A ClusterRole of these rules is made, and holds for it.
    pub(crate) async fn allow(mut self, rules: &Value) -> Self {
        let role = format!("{}-role", self.name);
        let manifest = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": { "name": role },
            "rules": rules,
        });
        self.cluster.apply(&manifest.to_string()).await.unwrap();
        self.made.push(["clusterrole".to_owned(), role.clone()]);
        self.bind(&role).await
    }

    pub(crate) async fn token(&self) -> String {
        self.cluster.token_for("default", &self.name, TOKEN).await.unwrap()
    }

    pub(crate) async fn remove(self) {
        self.cluster.kubectl(&["delete", "serviceaccount", &self.name, "-n", "default"]).await.unwrap();
        for [kind, name] in &self.made {
            self.cluster.kubectl(&["delete", kind, name]).await.unwrap();
        }
    }
}

/// Waits until the binding holds that lets this ServiceAccount, `namespace:name`, read podvitals.
pub(crate) async fn until_it_may_read(cluster: &Cluster, account: &str) -> anyhow::Result<()> {
    let account = format!("--as=system:serviceaccount:{account}");
    wait_for("the binding to hold", PATIENCE, async || {
        // It says no by its exit code, too.
        cluster.kubectl(&["auth", "can-i", "get", "/stats/summary", &account]).await.map(|_| Some(()))
    })
    .await
}

/// Everything podvitals serves, and nothing of the API server's own but what has the same path.
pub(crate) fn all_paths() -> Value {
    json!([{ "nonResourceURLs": ["*"], "verbs": ["get"] }])
}
