"""From result rows to verdicts: tables, figures and the page that puts each paper's numbers beside ours."""
