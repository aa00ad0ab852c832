//! Events: written in the background, counted, and never delaying requests.

use cnidaria_core::ports::{Cluster, Event, EventKind};
use fake_api::{Fault, Recorded};

use crate::rig::{LONG, Rig, until};

fn event(message: &str) -> Event {
    Event {
        kind: EventKind::Warning,
        reason: "NoNetworkFound",
        message: message.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_created_once_and_counted_after() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    let kube = rig.warm().await;
    for _ in 0..3 {
        kube.event(&pod, event("no such network"));
    }
    until(|| rig.api.all("Event").iter().any(|event| event["count"] == 3)).await;
    let events = rig.api.all("Event");
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["involvedObject"]["uid"], pod.uid.as_str());
    assert_eq!(events[0]["type"], "Warning");
    let acts: Vec<String> = rig.api.take_requests().iter().map(Recorded::act).collect();
    let of_events: Vec<_> = acts.iter().filter(|act| act.ends_with(" events")).collect();
    assert_eq!(of_events, ["create events", "patch events", "patch events"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_response_does_not_duplicate_event() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    let kube = rig.warm().await;
    rig.api.inject([
        Fault::answer("create events", 503),
        Fault::reset("create events").after_the_fact(),
    ]);
    kube.event(&pod, event("x"));
    let asked = |requests: &[Recorded]| {
        requests
            .iter()
            .filter(|r| r.act() == "create events")
            .count()
            >= 3
    };
    tokio::time::timeout(LONG, rig.api.wait_for(asked))
        .await
        .unwrap();
    assert_eq!(rig.api.all("Event").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_do_not_wait_for_an_absent_server() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    let kube = rig.warm().await;
    rig.api.go_down();
    let start = std::time::Instant::now();
    for number in 0..10_000 {
        kube.event(&pod, event(&number.to_string()));
    }
    assert!(start.elapsed() < LONG);
    rig.api.come_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_event_does_not_block_others() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    let kube = rig.warm().await;
    // A namespace that is being deleted accepts no new objects.
    rig.api.inject([Fault::answer("create events", 403)]);
    kube.event(&pod, event("refused"));
    kube.event(&pod, event("written"));
    until(|| !rig.api.all("Event").is_empty()).await;
    let events = rig.api.all("Event");
    assert_eq!(events[0]["message"], "written");
    kube.set_network_status(&pod, "[1]").await.unwrap();
    assert!(kube.ready().is_ok());
}
