//! An API server that is down, slow, or rejects the daemon's identity.

use std::time::Duration;

use cnidaria_core::ports::{Cluster, ClusterError};
use cnidaria_kube::{Access, Kube, Settings};
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
    // A request need not wait for the watches' backoff.
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

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_the_definition_of_networks_serves_pods_and_learns_of_it() {
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
async fn networks_whose_definition_is_deleted_are_forgotten() {
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
async fn an_object_that_cannot_be_understood_is_nobody_elses_trouble() {
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
async fn a_list_that_expires_between_its_pages_begins_anew() {
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
async fn while_everything_is_listed_anew_nothing_old_is_believed() {
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
async fn an_outage_that_is_given_time_is_no_reason_to_be_not_ready_and_a_refusal_is() {
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
async fn networks_that_are_not_served_for_a_moment_are_listed_again() {
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
async fn an_empty_token_is_not_shown_to_the_server_and_is_read_again() {
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
