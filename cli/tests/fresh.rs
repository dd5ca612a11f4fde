//! The committed page of lint's codes is what the program says.

#[test]
fn the_page_of_lint_s_codes_is_fresh() {
    let page = [("../docs/reference/lint.md", hunt::commands::lint::page())];
    fresh::check(env!("CARGO_MANIFEST_DIR"), page);
}
