//! The API server away, slow, or of another mind about who is who.

use std::time::Duration;

use daemon::adapters::kube::{Access, Kube, Settings};
use daemon::ports::{Cluster, ClusterError};
use fake_api::User;

use crate::rig::{self, LONG, Rig, until, until_ready};

const SHORT: Duration = Duration::from_millis(400);

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_at_the_start_is_waited_for() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    rig.api.go_down();
    let kube = rig.start();
    let error = kube.pod(&pod, SHORT).await.unwrap_err();
    assert!(matches!(error, ClusterError::Unavailable(_)), "{error}");
    assert!(matches!(kube.ready(), Err(ClusterError::Unavailable(_))));
    rig.api.come_up();
    // A request that is made now need not wait for the watches, which back off.
    assert_eq!(kube.pod(&pod, LONG).await.unwrap().uid, pod.uid);
    until_ready(&kube).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_makes_lookups_fail_and_recovers() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    rig.api.apply(rig::nad("x"));
    let kube = rig.warm().await;
    rig.api.go_down();
    until(|| kube.ready().is_err()).await;
    // The cache has the pod, and may be wrong by now.
    let error = kube.pod(&pod, SHORT).await.unwrap_err();
    assert!(matches!(error, ClusterError::Unavailable(_)), "{error}");
    let late = rig.pod("late");
    rig.api.come_up();
    assert_eq!(kube.pod(&late, LONG).await.unwrap().name, "late");
    until_ready(&kube).await;
    rig.api.take_requests();
    kube.pod(&pod, LONG).await.unwrap();
    kube.pod(&late, LONG).await.unwrap();
    assert_eq!(rig.acts(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_breaks_resumes_where_it_was() {
    let rig = Rig::new().await;
    rig.pod("a");
    let kube = rig.warm().await;
    rig.api.break_watches();
    let late = rig.pod("late");
    until_ready(&kube).await;
    assert_eq!(kube.pod(&late, LONG).await.unwrap().name, "late");
    let lists = rig.api.take_requests();
    assert!(
        !lists
            .iter()
            .any(|request| request.query.contains("sendInitialEvents=true"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubeconfig_that_comes_later_is_found() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    let path = rig.dir.path().join("later");
    let kube = Kube::start(Settings {
        access: Access::Kubeconfig(path.clone()),
        ..rig.settings()
    });
    let error = kube.pod(&pod, SHORT).await.unwrap_err().to_string();
    assert!(error.contains("later"), "{error}");
    rig.api.write_kubeconfig(&path, &rig.token).unwrap();
    assert_eq!(kube.pod(&pod, LONG).await.unwrap().uid, pod.uid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_is_read_again() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    let account = rig.dir.path().join("account");
    rig.api.write_service_account(&account, &rig.token).unwrap();
    let kube = Kube::start(Settings {
        access: Access::InCluster {
            server: rig.api.url(),
            service_account: account.clone(),
        },
        ..rig.settings()
    });
    until_ready(&kube).await;
    rig.api.revoke_token(&rig.token);
    let next = rig
        .api
        .issue_token(User::service_account("kube-system", "cnidaria"));
    rig.api.write_service_account(&account, &next).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    kube.set_network_status(&pod, "[1]").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_was_replaced_is_trusted_once_it_is_on_disk() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    let account = rig.dir.path().join("account");
    rig.api.write_service_account(&account, &rig.token).unwrap();
    let kube = Kube::start(Settings {
        access: Access::InCluster {
            server: rig.api.url(),
            service_account: account.clone(),
        },
        ..rig.settings()
    });
    until_ready(&kube).await;
    rig.api.rotate_authority().unwrap();
    until(|| kube.ready().is_err()).await;
    let error = kube.pod(&pod, SHORT).await.unwrap_err();
    assert!(matches!(error, ClusterError::Unavailable(_)), "{error}");
    rig.api.write_service_account(&account, &rig.token).unwrap();
    until_ready(&kube).await;
    assert_eq!(kube.pod(&pod, LONG).await.unwrap().uid, pod.uid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_allows_no_watch_is_told_by_status() {
    let rig = Rig::new().await;
    let nobody = rig
        .api
        .issue_token(User::service_account("default", "nobody"));
    rig.api
        .write_kubeconfig(&rig.dir.path().join("kubeconfig"), &nobody)
        .unwrap();
    let kube = rig.start();
    until(|| matches!(kube.ready(), Err(ClusterError::Unavailable(reason)) if reason.contains("forbidden"))).await;
}
