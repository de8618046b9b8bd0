"""Evaluators that each break one promise, and keep all others."""

import os
import random

from unlearnbench.api import Score
from unlearnbench.errors import PrerequisiteError
from unlearnbench.identity import digest
from unlearnbench.testing.fakes import Brightness


class Sound(Brightness):
    """Brightness (2026), whose scores pass through `change`."""

    def score(self, samples, question):
        return self.change(super().score(samples, question), samples, question)

    def change(self, scores, samples, question):
        return scores

    def other(self, score, p_yes):
        """Return a score with another p_yes and the label that goes with it; an unscored one stays as it is."""
        if score.label is None:
            return score
        return Score(p_yes=p_yes, label=p_yes >= self.params.threshold, answer=score.answer)


class Anonymous(Sound):
    def fingerprint(self):
        return digest(os.urandom(4).hex())


class Untagged(Sound):
    def fingerprint(self):
        return "version 1"


class HeavyFingerprint(Sound):
    def fingerprint(self):
        import torch

        return digest(torch.zeros(1).numel())


class Weightless(Sound):
    def setup(self, ctx):
        raise PrerequisiteError("the weights are not here", "download them")


class Short(Sound):
    def change(self, scores, samples, question):
        return scores[:-1]


class Tuples(Sound):
    def change(self, scores, samples, question):
        return [score.p_yes for score in scores]


class Silent(Sound):
    def change(self, scores, samples, question):
        return [Score(p_yes=float("nan"), label=None) for _ in scores]


class Percent(Sound):
    def change(self, scores, samples, question):
        return [s.model_copy(update={"p_yes": s.p_yes * 100}) for s in scores]


class Unlabelled(Sound):
    def change(self, scores, samples, question):
        return [s.model_copy(update={"label": None}) for s in scores]


class Contrary(Sound):
    def change(self, scores, samples, question):
        return [s.model_copy(update={"label": None if s.label is None else not s.label}) for s in scores]


class Inverted(Sound):
    def change(self, scores, samples, question):
        return [self.other(s, 1.0 - s.p_yes) for s in scores]


class Erratic(Sound):
    def change(self, scores, samples, question):
        return [self.other(s, int.from_bytes(os.urandom(4), "big") / 2**32) for s in scores]


class Relative(Sound):
    def change(self, scores, samples, question):
        largest = max((s.p_yes for s in scores if s.label is not None), default=1.0)
        return [self.other(s, s.p_yes / largest) for s in scores]


class Sorting(Sound):
    def change(self, scores, samples, question):
        return sorted(scores, key=lambda s: -s.p_yes if s.label is not None else 1.0)


class Fragile(Sound):
    def score(self, samples, question):
        for sample in samples:
            sample.image.load()
        return super().score(samples, question)


class Guessing(Sound):
    def change(self, scores, samples, question):
        return [Score(p_yes=0.0, label=False) if s.label is None else s for s in scores]


class Emptying(Sound):
    def change(self, scores, samples, question):
        samples.clear()
        return scores


class Painting(Sound):
    def change(self, scores, samples, question):
        for sample, score in zip(samples, scores, strict=True):
            if score.label is not None:
                sample.image.putpixel((0, 0), (1, 2, 3))
        return scores


class Asking(Sound):
    def change(self, scores, samples, question):
        question.classes.clear()
        return scores


class Hungry(Sound):
    def change(self, scores, samples, question):
        return [scores[0], *scores[1:]]


class Drawing(Sound):
    def change(self, scores, samples, question):
        random.random()
        return scores


class KeepsGradOff(Sound):
    def setup(self, ctx):
        import torch

        torch.set_grad_enabled(False)


class Exporting(Sound):
    def setup(self, ctx):
        os.environ["JUDGE_WORKERS"] = "4"
