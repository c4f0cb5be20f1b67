//! A run as a picture: one page of HTML that needs nothing else and reaches for nothing.
//!
//! The page is a template, a style and three scripts, which stand beside this file and are put
//! together here, with the run as JSON between them ([`data`]). A browser draws it: a lane for each
//! server and client, messages from send to receipt, what was wrong meanwhile, and below it the
//! operations of the clients with the order that explains them, or with the conflict.
//!
//! Invariant: nothing in the data can end the element that it stands in, whatever servers and
//! clients said, since every `<` in it is written as an escape of JSON.

mod data;

use crate::plan::Plan;
use crate::world::Run;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPTS: [&str; 3] =
    [include_str!("model.js"), include_str!("draw.js"), include_str!("main.js")];

/// The page of a run that was recorded.
///
/// # Panics
/// If it was not.
pub fn html(plan: &Plan, run: &Run) -> String {
    let data = escaped(&data::of(plan, run).to_string());
    let title = format!("accord-sim, seed {}", plan.options.seed);
    // The data last: whatever stands in it is not a place of the template.
    TEMPLATE
        .replace("{{title}}", &title)
        .replace("{{style}}", STYLE)
        .replace("{{script}}", &SCRIPTS.concat())
        .replace("{{data}}", &data)
}

/// JSON that can stand within an element of HTML.
fn escaped(json: &str) -> String {
    json.replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use crate::plan::options::Options;
    use crate::world;
    use serde_json::Value;

    fn page(plan: &Plan) -> (String, Value) {
        let page = html(plan, &world::run_recorded(plan, None));
        let (_, data) = page.split_once("type=\"application/json\">").expect("there is data");
        let (data, _) = data.split_once("</script>").expect("it ends");
        let data = serde_json::from_str(data).expect("the data is JSON");
        (page, data)
    }

    #[test]
    fn nothing_in_the_data_ends_its_element() {
        let text = escaped(&serde_json::json!({"a": "</script><!--"}).to_string());
        assert!(!text.contains('<'));
        let read: Value = serde_json::from_str(&text).expect("JSON still");
        assert_eq!(read["a"], "</script><!--");
    }

    #[test]
    fn a_page_has_all_that_happened_and_reaches_for_nothing() {
        let plan = Plan { options: Options::default(), faults: Vec::new() };
        let (page, data) = page(&plan);
        assert!(!page.contains("{{") && !page.contains("://"), "it is complete and alone");
        assert_eq!(data["lanes"].as_array().map(Vec::len), Some(1 + 3 + 3));
        let operations = data["operations"].as_array().expect("there are operations");
        assert!(operations.len() >= 150, "{}", operations.len());
        let ordered = |op: &&Value| op["outcome"] == "ok";
        let all = operations.iter().filter(ordered).all(|op| op["order"].as_u64().is_some());
        assert!(all, "each that took effect has its place in the order");
    }

    #[test]
    fn recording_changes_nothing_that_happens() {
        for seed in 0..4 {
            let plan = Plan::draw(seed, &crate::plan::Overrides::default());
            let recorded = world::run_recorded(&plan, None);
            assert_eq!(recorded.digest, world::run(&plan, None).digest, "seed {seed}");
            let record = recorded.record.expect("it was recorded");
            assert!(!record.events.is_empty() && !record.messages.is_empty());
        }
    }
}
