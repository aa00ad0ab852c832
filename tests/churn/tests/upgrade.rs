//! A short run: `make churn` makes a long one.

#![allow(clippy::unwrap_used, reason = "a test that fails here says where")]

use churn::{Plan, Version};
use node::case::on_a_private_node;

#[test]
fn nothing_is_lost_while_versions_are_swapped() {
    on_a_private_node(|node| {
        let plan = Plan {
            pods: 40,
            swaps: 4,
            at_once: 4,
            versions: vec![Version::of_this_build().unwrap()],
        };
        let report = churn::run(node, &plan).map_err(|error| error.chain());
        let report = report.unwrap();
        println!("{report}");
        assert_eq!((report.swaps, report.kills), (4, 1));
        // Four pods stay; the others come and go.
        assert_eq!((report.adds, report.dels), (44, 40));
    });
}
