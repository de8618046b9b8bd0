"""The checks checked: a plugin that breaks one promise fails the check of that promise, and no other."""

from __future__ import annotations

import pytest

from unlearnbench.checks import checks_for, run_checks
from unlearnbench.checks.spec import DATASET_SPEC, SPEC

slow = pytest.mark.slow  # another way to break a promise whose check is tested already


def failures(subject, checks):
    report = run_checks(checks, subject)
    assert all(result.reason for result in report.results if result.status != "passed")
    assert report.ok == (not [r for r in report.results if r.status == "failed"])
    return {result.name: result.reason for result in report.results if result.status == "failed"}


def behaviour(kind):
    return [check for check in checks_for(kind) if check not in (*SPEC, *DATASET_SPEC)]


SPECS = [
    ("check_import_is_light", {"cls": "Heavy", "params": "heavy_params:Heavy"}, "loads torch"),
    ("check_name", {"cls": "Sound", "name": "unedited"}, "is a control of every board"),
    ("check_summary", {"cls": "Sound", "summary": ""}, "says nothing"),
    ("check_target", {"cls": "OtherParams"}, "OtherParams.params_type is not"),
    ("check_target", {"cls": "unlearnbench.testing.fakes:Letters"}, "must be a subclass of Method"),
    ("check_target", {"cls": "unlearnbench.testing.fakes:NoSuchClass"}, "cannot be imported"),
    ("check_source_is_named", {"cls": "Sourceless"}, "names no paper"),
    (
        "check_parameters_are_a_params_class",
        {"cls": "Foreign", "params": "broken_params:Foreign"},
        "subclass of Params",
    ),
    ("check_parameters_are_typed", {"cls": "Untyped", "params": "broken_params:Untyped"}, ": hint"),
    ("check_parameters_are_bounded", {"cls": "Unbounded", "params": "broken_params:Unbounded"}, ": rate"),
    ("check_parameters_are_described", {"cls": "Undescribed", "params": "broken_params:Undescribed"}, ": steps"),
    ("check_parameters_have_defaults", {"cls": "Required", "params": "broken_params:Required"}, "no default: steps"),
    ("check_parameters_have_defaults", {"cls": "Forbidden", "params": "broken_params:Forbidden"}, "refuse the default"),
    ("check_parameters_survive_json", {"cls": "Rounded", "params": "broken_params:Rounded"}, ": share"),
    ("check_parameters_refuse_unknown_fields", {"cls": "Lenient", "params": "broken_params:Lenient"}, "extra='forbid'"),
]


@pytest.mark.parametrize(("check", "about", "reason"), SPECS, ids=[f"{c}-{a['cls']}" for c, a, _ in SPECS])
def test_what_breaks_a_rule_of_specs_fails_that_check_alone(method, check, about, reason):
    found = failures(method(**about), SPEC)
    assert list(found) == [check]
    assert reason in found[check]


METHODS = [
    ("check_alien_model_is_refused", "Boastful", "claims to support"),
    pytest.param("check_alien_model_is_refused", "Mumbling", "is no sentence: 'no'", marks=slow),
    ("check_edit", "Raising", "`edit` raised RuntimeError: the weights exploded"),
    ("check_edit", "Refusing", "it forgets numbers only"),
    pytest.param("check_edit", "Returning", "`edit` returned Model", marks=slow),
    ("check_changes_something", "Idle", "every tensor has the bits it had"),
    ("check_changes_what_it_declares", "Sprawling", "it changes unet.conv_in.weight"),
    pytest.param("check_changes_what_it_declares", "Decoding", "no edit file can hold this: vae.", marks=slow),
    ("check_values_are_finite", "Infinite", "NaN or infinity in unet."),
    ("check_tensors_keep_their_form", "Casting", "torch.float64"),
    pytest.param("check_tensors_keep_their_form", "Adding", "unet.moment is new", marks=slow),
    ("check_modes_are_put_back", "Training", "training mode of unet"),
    pytest.param("check_modes_are_put_back", "Thawing", "requires_grad of unet", marks=slow),
    ("check_modules_are_put_back", "Hooking", "unet.conv_in changed"),
    ("check_saved_edit_gives_the_edited_model", "Hiding", "no tensor of the state dict"),
    ("check_same_seed_same_edit", "Erratic", "two edits with seed 0 differ"),
    ("check_other_seed_other_edit", "Seedless", "seeds 0 and 1 give the same bits"),
    ("check_random_state_is_left_alone", "DrawsFromTorch", "torch's global random state"),
    pytest.param("check_random_state_is_left_alone", "DrawsFromNumpy", "numpy's global random state", marks=slow),
    pytest.param("check_random_state_is_left_alone", "DrawsFromPython", "python's global random state", marks=slow),
    ("check_torch_settings_are_left_alone", "KeepsGradOff", "torch's grad mode changed from True to False"),
    pytest.param("check_torch_settings_are_left_alone", "KeepsThreads", "number of threads", marks=slow),
    pytest.param("check_torch_settings_are_left_alone", "KeepsDtype", "default dtype", marks=slow),
    pytest.param("check_torch_settings_are_left_alone", "KeepsDenormalsOff", "subnormal", marks=slow),
    ("check_process_is_left_alone", "Exporting", "NUDGE_WORKERS was set"),
    pytest.param("check_process_is_left_alone", "Wandering", "the working directory", marks=slow),
    pytest.param("check_process_is_left_alone", "Shouting", "the level of the logger 'root'", marks=slow),
    ("check_writes_only_to_its_folder", "Littering", "scratch.txt"),
    pytest.param("check_writes_only_to_its_folder", "LitteringElsewhere", "scratch", marks=slow),
    pytest.param("check_writes_only_to_its_folder", "LitteringUnheard", "scratch.safetensors", marks=slow),
    ("check_several_concepts", "Forgetful", "the same edit as forgetting cat"),
    ("check_other_shapes", "Hardcoded", "shape '[77, -1]' is invalid"),
]


@pytest.mark.parametrize(("check", "cls", "reason"), METHODS)
def test_a_method_that_breaks_a_promise_fails_that_check_alone(method, check, cls, reason):
    found = failures(method(cls), behaviour("method"))
    assert list(found) == [check]
    assert reason in found[check]


JUDGES = [
    ("check_fingerprint", "Anonymous", "another one each time"),
    ("check_fingerprint", "Untagged", "no tagged digest"),
    pytest.param("check_fingerprint", "HeavyFingerprint", "loads torch", marks=slow),
    ("check_setup", "Weightless", "the weights are not here; download them"),
    ("check_scores_every_image", "Short", "6 scores for 7 images"),
    ("check_scores_every_image", "Tuples", "lists float, not Score"),
    ("check_readable_images_get_a_number", "Silent", "every p_yes is NaN"),
    ("check_scores_are_in_range", "Percent", "it is a probability"),
    ("check_scores_are_in_range", "Unlabelled", "with the label None"),
    ("check_labels_follow_the_scores", "Contrary", "yes with p_yes"),
    ("check_more_of_the_concept_scores_higher", "Inverted", "'light': 0.0000 where it is shown"),
    ("check_same_images_same_scores", "Erratic", "image [0]"),
    ("check_batch_size_does_not_matter", "Relative", "in batches of 1"),
    ("check_order_does_not_matter", "Sorting", "turned round"),
    ("check_unreadable_image_is_unscored", "Fragile", "raised OSError"),
    ("check_unreadable_image_is_unscored", "Guessing", "the damaged image gets p_yes = 0.0"),
    ("check_inputs_are_not_changed", "Emptying", "the list of samples"),
    ("check_inputs_are_not_changed", "Painting", "the pixels"),
    ("check_inputs_are_not_changed", "Asking", "the classes of the question"),
    ("check_no_images_no_scores", "Hungry", "raised IndexError"),
    ("check_random_state_is_left_alone", "Drawing", "python's global random state"),
    ("check_torch_settings_are_left_alone", "KeepsGradOff", "grad mode"),
    ("check_process_is_left_alone", "Exporting", "JUDGE_WORKERS was set"),
]


@pytest.mark.parametrize(("check", "cls", "reason"), JUDGES)
def test_a_judge_that_breaks_a_promise_fails_that_check_alone(evaluator, check, cls, reason):
    found = failures(evaluator(cls), behaviour("evaluator"))
    assert list(found) == [check]
    assert reason in found[check]


DATA = [
    ("check_import_is_light", {"cls": "heavy_data:Heavy"}, "loads torch"),
    ("check_name", {"cls": "unlearnbench.testing.fakes:Letters", "name": "prompt-swap"}, "is a control"),
    (
        "check_summary",
        {"cls": "unlearnbench.testing.fakes:Letters", "summary": "many words " * 20},
        "longer than a line",
    ),
    ("check_target", {"cls": "nothing"}, "must return a ConceptDataset"),
    ("check_ids_are_stable", {"cls": "Misfiled"}, "alpha under alfa"),
    ("check_ids_are_stable", {"cls": "Shuffled"}, "the order of the concepts"),
    ("check_ids_are_stable", {"cls": "Moody"}, "other ones each time"),
    ("check_names_are_unique", {"cls": "Shared"}, "'delta' names alpha and delta"),
    ("check_concepts_are_complete", {"cls": "Bare"}, "alpha has no edit pair"),
    ("check_concepts_are_complete", {"cls": "Uneven"}, "different numbers of prompts"),
    ("check_concepts_are_complete", {"cls": "Unpaired"}, "2 direct and 1 target_direct"),
    ("check_references", {"cls": "Narcissist"}, "the target of alpha is alpha itself"),
    ("check_references", {"cls": "Dangling"}, "overlaps zeta"),
    ("check_references", {"cls": "RetainedTarget"}, "mapped to beta"),
    ("check_prompts_are_unique", {"cls": "Twice"}, "'letter number 2'"),
    ("check_prompts_are_unique", {"cls": "EditTwice"}, "'a big alpha'"),
    ("check_splits_are_disjoint", {"cls": "Leaking"}, "'alpha on paper' is nearly the edit prompt 'Alpha, on paper'"),
    ("check_prompts_say_what_they_should", {"cls": "Telling"}, "the indirect prompt 'the alpha of the alphabet'"),
    ("check_prompts_say_what_they_should", {"cls": "Nameless"}, "does not name alpha"),
    ("check_prompts_say_what_they_should", {"cls": "Unmapped"}, "the target prompt"),
    ("check_prompts_say_what_they_should", {"cls": "Circular"}, "maps to itself"),
    ("check_classes_can_be_told_apart", {"cls": "Unclassed"}, "lacks alpha, gamma, delta"),
    ("check_classes_can_be_told_apart", {"cls": "SameWords"}, "'beta'"),
    ("check_licence", {"cls": "unlearnbench.testing.fakes:Letters", "licence": " "}, "is empty"),
    ("check_content_warning", {"cls": "unlearnbench.testing.fakes:Letters", "warning": ""}, "is empty"),
    ("check_version_pins_content", {"cls": "unlearnbench.testing.fakes:Letters", "digest": ""}, 'digest="ub1:'),
    ("check_version_pins_content", {"cls": "unlearnbench.testing.fakes:Letters", "digest": "ub1:0"}, "raise `version`"),
]


@pytest.mark.parametrize(("check", "about", "reason"), DATA, ids=[f"{c}-{a['cls']}" for c, a, _ in DATA])
def test_a_data_set_that_breaks_a_rule_fails_that_check_alone(dataset, check, about, reason):
    found = failures(dataset(**about), checks_for("dataset"))
    assert list(found) == [check]
    assert reason in found[check]


def test_every_check_has_a_plugin_that_only_it_catches():
    def names(rows):
        return {getattr(row, "values", row)[0] for row in rows}

    assert names(SPECS) == {check.name for check in SPEC}
    assert names(METHODS) == {check.name for check in behaviour("method")}
    assert names(JUDGES) == {check.name for check in behaviour("evaluator")}
    assert names(DATA) == {check.name for check in checks_for("dataset")}


def test_what_keeps_its_promises_fails_nothing(method, evaluator, dataset):
    assert failures(method("Tidy"), checks_for("method")) == {}
    assert failures(evaluator("Sound"), checks_for("evaluator")) == {}
    assert failures(dataset("unlearnbench.testing.fakes:Letters"), checks_for("dataset")) == {}
