//! Hostile bytes and round trips of the notation and of histories.

use std::borrow::Cow;

use accord_models::edn::{Value, read::read_value};
use accord_models::history;
use proptest::prelude::*;

fn name() -> impl Strategy<Value = Cow<'static, str>> {
    "[a-z][a-z0-9._-]{0,8}".prop_map(Cow::Owned)
}

fn value() -> impl Strategy<Value = Value> {
    let symbol = name().prop_filter("a word of its own", |name| {
        !["nil", "true", "false"].contains(&name.as_ref())
    });
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(Value::from),
        any::<String>().prop_map(Value::Text),
        name().prop_map(Value::Keyword),
        symbol.prop_map(Value::Symbol),
        any::<char>().prop_map(Value::Char),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        let items = || proptest::collection::vec(inner.clone(), 0..5);
        prop_oneof![
            items().prop_map(Value::List),
            items().prop_map(Value::Vector),
            proptest::collection::btree_set(inner.clone(), 0..5)
                .prop_map(|items| Value::Set(items.into_iter().collect())),
            proptest::collection::btree_map(inner.clone(), inner.clone(), 0..4)
                .prop_map(|entries| Value::Map(entries.into_iter().rev().collect())),
            (name(), inner.clone()).prop_map(|(tag, value)| Value::Tagged(tag, Box::new(value))),
        ]
    })
}

/// Many cases, the same ones in every run.
fn config() -> ProptestConfig {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(2011);
    ProptestConfig { cases: 2_000, rng_seed, failure_persistence: None, ..Default::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_value_reads_as_it_was_printed(value in value()) {
        prop_assert_eq!(read_value(&value.to_string()).unwrap(), value);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Err(error) = history::read(&bytes) {
            prop_assert!(error.at.line >= 1 && error.at.column >= 1);
        }
    }

    #[test]
    fn any_edn_like_text_is_read_or_refused(text in "[\\[\\](){}#_:;\"\\\\a-c0-2 \n]{0,120}") {
        if let Err(error) = history::read(text.as_bytes()) {
            let lines = text.split('\n').count();
            prop_assert!((error.at.line as usize) <= lines, "{error} is past the end");
        }
    }

    #[test]
    fn a_damaged_history_is_read_or_refused(at in 0_usize..290, byte: u8) {
        let mut bytes = b"{:type :invoke, :f :write, :value [:x 1], :process 0, :time 1}\n\
            {:type :invoke, :f :read, :value [:x nil], :process 1, :time 2}\n\
            {:type :ok, :f :write, :value [:x 1], :process 0, :time 3, :index 2}\n\
            {:type :info, :f :read, :value [:x nil], :process 1, :time 4, :error \"lost\"}\n"
            .to_vec();
        let at = at.min(bytes.len() - 1);
        bytes[at] = byte;
        if let Ok(history) = history::read(&bytes) {
            let again = history::read(history.to_string().as_bytes()).unwrap();
            prop_assert_eq!(again.to_string(), history.to_string());
        }
    }
}
