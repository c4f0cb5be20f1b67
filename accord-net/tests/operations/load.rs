//! `accord bench`: a load on one's own cluster.

use crate::directories::server;
use crate::support::accord;
use tempfile::TempDir;

#[test]
fn a_load_is_measured_and_leaves_nothing_behind() {
    let parent = TempDir::new().expect("there is a place for it");
    let (_process, at) = server(&parent.path().join("n1"), &["--bootstrap"]);
    let on = ["--servers", &at, "--timeout-ms", "30000"];
    accord(&[&["put", "mine", "kept"], &on[..]].concat()).done();
    let load = ["bench", "--seconds", "1", "--clients", "3", "--records", "250", "--json"];
    let told = accord(&[&load[..], &on].concat());
    assert_eq!(told.code, Some(0), "{told:?}");
    let told = told.json()[0].clone();
    assert_eq!((&told["failed"], &told["clients"]), (&0.into(), &3.into()), "{told}");
    for kind in ["reads", "writes"] {
        let of = |name: &str| told[kind][name].as_f64().expect("it is measured");
        assert!(of("count") > 0.0 && of("per_second") > 0.0, "{told}");
        assert!(0.0 < of("p50_ms") && of("p50_ms") <= of("p99_ms"), "{told}");
        assert!(of("p99_ms") <= of("max_ms"), "{told}");
    }
    let left = accord(&[&["list", "--keys"], &on[..]].concat()).done();
    assert_eq!(left, "mine\n");
    let much = ["bench", "--records", "1000000", "--value-bytes", "2000"];
    assert!(accord(&[&much[..], &on].concat()).failed(2).contains("at most 1073741824 bytes"));
    assert!(accord(&[&["bench", "--clients", "0"], &on[..]].concat()).failed(2).contains("1..="));
}
