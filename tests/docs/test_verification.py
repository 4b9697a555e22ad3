"""The tables of docs/verification.md are what its command makes of the recorded results."""
import json

import pytest
import verification
from verification import PAGE, SUMMARY, blocks_table, figures, results, with_tables

REPORT = """<testsuites><testsuite>
<testcase classname="tests.rtl.dma.test_dma" name="a" />
<testcase classname="tests.rtl.dma.test_dma" name="b"><failure message="no" /></testcase>
<testcase classname="tests.rtl.test_fabric" name="c"><skipped message="later" /></testcase>
<testcase classname="tests.cosim.test_dma_cocotb" name="d[3x5]">
 <properties><property name="cocotb tests" value="7" /></properties></testcase>
<testcase classname="tests.host.test_x" name="e" />
</testsuite></testsuites>"""
PROOFS = [
    {"block": "dma", "kind": "proved (PDR)", "rules": ["a", "b"], "status": "PASS",
     "mutants": {"a": "killed", "b": "survived"}},
    {"block": "dma", "kind": "bounded, 9 cycles", "rules": ["c"], "status": "FAIL", "mutants": {}},
]


def test_the_page_has_the_tables_of_the_recorded_results():
    page = PAGE.read_text()
    assert page == with_tables(page, json.loads(SUMMARY.read_text())), "run: python tests/verification.py"


def test_results_of_each_kind_come_to_their_block_and_failures_show(tmp_path):
    (tmp_path / "tests.xml").write_text(REPORT)
    (tmp_path / "formal.json").write_text(json.dumps(PROOFS))
    found = results({"unit": {"link": {"passed": 3, "failed": 0, "skipped": 0}}}, tmp_path, tmp_path / "none")
    assert found["unit"] == {"link": {"passed": 3, "failed": 0, "skipped": 0},
                             "dma": {"passed": 1, "failed": 1, "skipped": 0},
                             "fabric": {"passed": 0, "failed": 0, "skipped": 1}}
    assert found["cocotb"] == {"dma": {"designs": 1, "tests": 7, "failed": 0}}
    row = next(line for line in blocks_table(found).splitlines() if line.startswith("| DMA"))
    assert [cell.strip() for cell in row.split("|")[2:-1]] == [
        "1 tests, **1 fail**", "7 tests, 1 design", "2 proved, 1 **fail**; 1/2 broken designs seen",
        "–", "–"]


def test_a_later_report_of_the_same_test_counts(tmp_path):
    for number, text in enumerate((REPORT, REPORT.replace('<failure message="no" />', ""))):
        (tmp_path / f"{number}.xml").write_text(text)
    assert results({}, tmp_path, tmp_path / "none")["unit"]["dma"]["failed"] == 0


def test_results_that_no_row_takes_are_not_lost_in_silence(tmp_path):
    (tmp_path / "formal.json").write_text(json.dumps([PROOFS[0] | {"block": "clock"}]))
    with pytest.raises(ValueError, match="no row of the table takes the formal results of clock"):
        results({}, tmp_path, tmp_path / "none")


def test_survivors_without_a_reason_show():
    row = dict.fromkeys(verification.mutation.COLUMNS, 1) | {"mutants": 9, "killed": 5}
    summary = {"mutation": {"dma": row, "all": row}}
    assert "| 5/7, **1 survive** |" in blocks_table(summary)
    assert "5 are killed (71.4 %), 1 survive with a reason, 1 without" in figures(summary)


def test_a_page_without_marks_is_refused():
    with pytest.raises(ValueError, match="no marks"):
        with_tables("# A page", {})
