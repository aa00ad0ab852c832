//! An API server that is down, slow, or rejects the daemon's identity.

use std::path::PathBuf;
use std::time::Duration;

use cnidaria_core::ports::{Cluster, ClusterError};
use cnidaria_kube::{Access, Kube, Settings};
use fake_api::User;

use crate::rig::{self, LONG, Rig, until, until_ready};

const SHORT: Duration = Duration::from_millis(400);

/// Starts with a service account, and returns its directory.
async fn in_cluster(rig: &Rig) -> (Kube, PathBuf) {
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
    (kube, account)
}

#[tokio::test(flavor = "multi_thread")]
async fn lookups_succeed_after_server_starts_late() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    rig.api.go_down();
    let kube = rig.start();
    let error = kube.pod(&pod, SHORT).await.unwrap_err();
    assert!(matches!(error, ClusterError::Unavailable(_)), "{error}");
    assert!(matches!(kube.ready(), Err(ClusterError::Unavailable(_))));
    rig.api.come_up();
    // A request need not wait for the watches' backoff.
    assert_eq!(kube.pod(&pod, LONG).await.unwrap().uid, pod.uid);
    until_ready(&kube).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lookups_fail_during_outage_and_recover() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    rig.api.apply(rig::nad("x"));
    let kube = rig.warm().await;
    rig.api.go_down();
    until(|| kube.ready().is_err()).await;
    // The cached pod may be stale by now.
    let error = kube.pod(&pod, SHORT).await.unwrap_err();
    assert!(matches!(error, ClusterError::Unavailable(_)), "{error}");
    let late = rig.pod("late");
    rig.api.come_up();
    assert_eq!(kube.pod(&late, LONG).await.unwrap().name, "late");
    until_ready(&kube).await;
    rig.acts();
    // After its restart the server serves the watch, then reports its resource version as expired.
    let warm = async {
        loop {
            kube.pod(&pod, LONG).await.unwrap();
            kube.pod(&late, LONG).await.unwrap();
            if rig.acts().is_empty() {
                break;
            }
        }
    };
    tokio::time::timeout(LONG, warm).await.unwrap();
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
    let (kube, account) = in_cluster(&rig).await;
    rig.api.revoke_token(&rig.token);
    let next = rig
        .api
        .issue_token(User::service_account("kube-system", "cnidaria"));
    rig.api.write_service_account(&account, &next).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    kube.set_network_status(&pod, "[1]").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rotated_ca_is_reloaded_from_disk() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    let (kube, account) = in_cluster(&rig).await;
    rig.api.rotate_authority().unwrap();
    until(|| kube.ready().is_err()).await;
    let error = kube.pod(&pod, SHORT).await.unwrap_err();
    assert!(matches!(error, ClusterError::Unavailable(_)), "{error}");
    rig.api.write_service_account(&account, &rig.token).unwrap();
    until_ready(&kube).await;
    assert_eq!(kube.pod(&pod, LONG).await.unwrap().uid, pod.uid);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_reports_a_role_without_watch() {
    let rig = Rig::new().await;
    let stranger = rig
        .api
        .issue_token(User::service_account("default", "stranger"));
    rig.api
        .write_kubeconfig(&rig.dir.path().join("kubeconfig"), &stranger)
        .unwrap();
    let kube = rig.start();
    until(|| matches!(kube.ready(), Err(ClusterError::Unavailable(reason)) if reason.contains("forbidden"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nad_crd_may_be_installed_later() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    rig.api.set_served("NetworkAttachmentDefinition", false);
    let kube = rig.warm().await;
    kube.pod(&pod, LONG).await.unwrap();
    let error = kube.nad("default", "x").await.unwrap_err();
    assert!(matches!(error, ClusterError::NadNotFound { .. }), "{error}");
    rig.api.set_served("NetworkAttachmentDefinition", true);
    rig.api.apply(rig::nad("x"));
    // A request finds it at once; without requests, the watch does once it has started.
    kube.nad("default", "x").await.unwrap();
    rig.acts();
    until_warm(&rig, &kube, "x").await;
}

/// Waits until a lookup of a network is served from the cache.
async fn until_warm(rig: &Rig, kube: &Kube, name: &str) {
    let warm = async {
        loop {
            kube.nad("default", name).await.unwrap();
            if rig.acts().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, warm).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_crd_empties_the_nad_cache() {
    let rig = Rig::new().await;
    rig.api.apply(rig::nad("x"));
    let kube = rig.warm().await;
    rig.api.set_served("NetworkAttachmentDefinition", false);
    let gone = async { while kube.nad("default", "x").await.is_ok() {} };
    tokio::time::timeout(LONG, gone).await.unwrap();
    until_ready(&kube).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_cannot_be_resumed_begins_anew() {
    let rig = Rig::new().await;
    rig.pod("a");
    let kube = rig.warm().await;
    // As the response's status, before a watch is served.
    rig.api.inject([fake_api::Fault::answer("watch pods", 410)]);
    rig.api.end_watches();
    let anew = |requests: &[fake_api::Recorded]| {
        requests.iter().any(|request| {
            request.act() == "watch pods" && request.query.contains("sendInitialEvents=true")
        })
    };
    tokio::time::timeout(LONG, rig.api.wait_for(anew))
        .await
        .unwrap();
    until_ready(&kube).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_nad_does_not_affect_others() {
    for streaming in [true, false] {
        let rig = Rig::new().await;
        rig.api.set_streaming_lists(streaming);
        rig.api.apply(rig::nad("good"));
        let mut bad = rig::nad("odd");
        bad["spec"]["config"] = serde_json::json!({"type": 17});
        rig.api.apply(bad.clone());
        let kube = rig.warm().await;
        kube.nad("default", "good").await.unwrap();
        // Once the watch has started, even a totally malformed object must not disturb it.
        bad["metadata"]["name"] = "bad".into();
        bad["spec"] = "no object".into();
        rig.api.apply(bad);
        rig.api.apply(rig::nad("late"));
        until_warm(&rig, &kube, "late").await;
        assert!(kube.ready().is_ok());
        let error = kube.nad("default", "bad").await.unwrap_err();
        assert!(matches!(error, ClusterError::Malformed { .. }), "{error}");
        assert_eq!(rig.acts(), ["get network-attachment-definitions"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn list_expired_between_pages_is_restarted() {
    let rig = Rig::new().await;
    rig.api.set_streaming_lists(false);
    for number in 0..501 {
        rig.pod(&format!("p{number}"));
    }
    // Longer than it takes to compact the history.
    rig.api.set_latency(Duration::from_millis(300));
    let kube = rig.start();
    let first_page = |requests: &[fake_api::Recorded]| {
        requests.iter().any(|request| request.act() == "list pods")
    };
    tokio::time::timeout(LONG, rig.api.wait_for(first_page))
        .await
        .unwrap();
    rig.api.compact();
    until_ready(&kube).await;
    rig.api.set_latency(Duration::ZERO);
    let lists = rig.api.take_requests();
    assert!(lists.iter().any(|request| request.code == 410), "{lists:?}");
    let last = rig::reference(&rig.api.get("Pod", "default", "p500").unwrap());
    assert!(kube.pod(&last, Duration::ZERO).await.is_ok());
    assert_eq!(rig.acts(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_nads_are_not_served_during_relist() {
    let rig = Rig::new().await;
    rig.api.apply(rig::nad("x"));
    let kube = rig.warm().await;
    rig.api.set_list_delay(Duration::from_secs(2));
    rig.api.expire_watches();
    let listing = |requests: &[fake_api::Recorded]| {
        let act = "watch network-attachment-definitions";
        requests.iter().any(|request| request.act() == act)
    };
    tokio::time::timeout(LONG, rig.api.wait_for(listing))
        .await
        .unwrap();
    let mut changed = rig::nad("x");
    changed["spec"]["config"] = r#"{"type":"macvlan"}"#.into();
    rig.api.apply(changed);
    // The server serves the watch, but has sent no event yet.
    until_ready(&kube).await;
    let nad = kube.nad("default", "x").await.unwrap();
    assert_eq!(nad.config.as_deref(), Some(r#"{"type":"macvlan"}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn outage_keeps_ready_but_revoked_token_does_not() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    let settings = || Settings {
        outage_patience: 100 * LONG,
        ..rig.settings()
    };
    let kube = Kube::start(settings());
    until_ready(&kube).await;
    rig.api.go_down();
    // Requests that need the server notice.
    let away = async { while kube.pod(&pod, Duration::ZERO).await.is_ok() {} };
    tokio::time::timeout(LONG, away).await.unwrap();
    kube.ready().unwrap();
    // An adapter that never reached the server knows no pods.
    let late = Kube::start(settings());
    let error = late.pod(&pod, SHORT).await.unwrap_err();
    assert!(matches!(error, ClusterError::Unavailable(_)), "{error}");
    late.ready().unwrap_err();
    rig.api.come_up();
    until_ready(&late).await;
    rig.api.revoke_token(&rig.token);
    rig.api.end_watches();
    until(|| kube.ready().is_err()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nads_are_relisted_after_a_brief_404() {
    let rig = Rig::new().await;
    rig.api.apply(rig::nad("x"));
    let kube = rig.warm().await;
    let act = "watch network-attachment-definitions";
    rig.api.inject([fake_api::Fault::answer(act, 404)]);
    rig.api.end_watches();
    let served_again = |requests: &[fake_api::Recorded]| {
        let watches = requests.iter().filter(|request| request.act() == act);
        let mut codes = watches.map(|request| request.code);
        codes.any(|code| code == 404) && codes.any(|code| code == 200)
    };
    tokio::time::timeout(LONG, rig.api.wait_for(served_again))
        .await
        .unwrap();
    until_warm(&rig, &kube, "x").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_token_is_not_sent_and_is_reread() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    let account = rig.dir.path().join("account");
    rig.api.write_service_account(&account, "\n").unwrap();
    let kube = Kube::start(Settings {
        access: Access::InCluster {
            server: rig.api.url(),
            service_account: account.clone(),
        },
        ..rig.settings()
    });
    let error = kube.pod(&pod, SHORT).await.unwrap_err().to_string();
    assert!(error.contains("account/token is empty"), "{error}");
    assert!(rig.api.take_requests().is_empty());
    rig.api.write_service_account(&account, &rig.token).unwrap();
    assert_eq!(kube.pod(&pod, LONG).await.unwrap().uid, pod.uid);
}
