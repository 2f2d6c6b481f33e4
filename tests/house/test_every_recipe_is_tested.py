"""Every recipe of modules/README.md has a test that follows it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = (
    *sorted((ROOT / "tests" / "house").glob("test_recipes*.py")),
    ROOT / "tests" / "backend" / "test_recipes.py",
    ROOT / "tests" / "backend" / "test_recipes_sampling.py",
)
# By the first column of the table.
TESTS = {
    "a request parameter": ("test_a_request_parameter_is_one_line",),
    "a task": ("test_a_task_is_a_class_and_a_row",),
    "a kind of job that generates nothing": ("test_a_kind_of_job_is_a_request_a_plan_and_a_row",),
    "a setting": ("test_a_setting_is_one_line",),
    "a sampler": ("test_a_sampler_is_a_generator_and_a_row",),
    "a schedule": ("test_a_schedule_is_a_function_and_a_row",),
    "an upscaler": ("test_an_upscaler_is_a_row",),
    "a noise source": ("test_a_noise_source_is_a_function_and_a_row",),
    "a prediction type": ("test_a_prediction_type_is_a_function_and_a_row",),
    "a way of guidance": ("test_a_way_of_guidance_is_a_function_and_a_row",),
    "a part of every step": ("test_a_part_of_every_step_is_an_extension",),
    "a model family": ("test_a_model_family_is_a_row_and_a_header",),
    "a kind of model file": ("test_a_kind_of_model_file_is_a_row",),
    "a layout of a text encoder in files": (
        "test_a_layout_of_a_text_encoder_is_a_row_and_a_function",
    ),
    "a few-step model": ("test_a_few_step_model_is_a_row",),
    "a recipe of the merger": ("test_a_recipe_of_the_merger_is_a_row_and_a_formula",),
    "a kind of device work": ("test_a_kind_of_work_is_a_class_a_function_and_a_row",),
    "an infotext key of several fields": ("test_an_infotext_key_of_several_fields_is_a_row",),
    "a program whose infotext is read": (
        "test_a_program_whose_infotext_is_read_is_a_row",
        "test_a_program_that_writes_json_is_a_row",
    ),
    "an emphasis mode": ("test_an_emphasis_mode_is_a_row",),
    "a kind of device": ("test_a_kind_of_device_is_a_row",),
    "a memory policy": ("test_a_memory_policy_is_a_row",),
    "a preprocessor": ("test_a_preprocessor_is_a_function_and_a_row",),
    "a script": ("test_a_script_is_a_generator_and_a_row",),
    "an axis of a plot": ("test_an_axis_of_a_plot_is_a_declared_field",),
    "a version of the job database": ("test_a_version_of_the_job_database_is_a_function",),
    "a generation tab": ("test_a_generation_tab_is_a_layout_and_a_row",),
    "any other tab": ("test_a_tab_is_a_function_and_a_row",),
    "an endpoint": ("test_an_endpoint_is_a_function_in_a_router",),
    "a filename token": ("test_a_filename_token_is_a_function",),
    "a file format of images": ("test_a_file_format_of_images_is_a_function_and_a_row",),
    "a flag": ("test_a_flag_is_one_line",),
    "a flag of A1111 without effect": ("test_a_flag_of_a1111_without_effect_is_a_row",),
    "a torch build": ("test_a_torch_build_is_a_row",),
}
# Follows no recipe: it checks the page as it is.
OTHER_TESTS = {"test_a_page_offers_every_field_of_its_request"}


def recipes() -> list[tuple[str, str, str]]:
    """Return the rows of the table: what to add, what to write, and where."""
    text = (ROOT / "modules" / "README.md").read_text(encoding="utf-8")
    lines = text.split("## Recipes")[1].split("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return [(adding, writing, places) for adding, writing, places in rows[2:]]


def test_every_recipe_has_a_test():
    assert list(TESTS) == [adding for adding, _, _ in recipes()]


def test_every_test_of_a_recipe_exists_and_belongs_to_one_recipe():
    nodes = [node for file in FILES for node in ast.parse(file.read_text(encoding="utf-8")).body]
    functions = [node.name for node in nodes if isinstance(node, ast.FunctionDef)]
    existing = {name for name in functions if name.startswith("test_")} - OTHER_TESTS
    listed = [name for names in TESTS.values() for name in names]
    assert sorted(listed) == sorted(existing)


@pytest.mark.parametrize(("adding", "writing", "places"), recipes(), ids=list(TESTS))
def test_every_table_of_a_recipe_is_in_a_file_that_it_names(adding: str, writing: str, places: str):
    files = [ROOT / "modules" / name for name in re.findall(r"`([\w/]+\.py)`", places)]
    code = "\n".join(file.read_text(encoding="utf-8") for file in files if file.is_file())
    tables = re.findall(r"\b(?:_[A-Z]+|[A-Z_]{3,}S)\b", writing)
    assert [name for name in tables if not re.search(rf"^{name}\b.* = ", code, re.MULTILINE)] == []
