import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, precision_recall_fscore_support, roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import made
from cellgauge_tasks.metrics import classification
from cellgauge_tasks.metrics.classification import Judged, Split, forest, logistic, neighbours, stratified
from cellgauge_tasks.metrics.classification.folds import Scaled, grouped, trained

CELLS = made.mixture(900, 12, types=6, batches=3)
POINTS, LABELS = CELLS.points, CELLS.obs["cell_type"].to_numpy(str)
CODES = np.unique(LABELS, return_inverse=True)[1].astype(np.int64)
SPLITS = stratified(CODES, 5, 42)


def theirs(points, codes, split, model):
    found = np.zeros((len(split.test), codes.max() + 1))
    model = make_pipeline(StandardScaler(), model).fit(points[split.train], codes[split.train])
    found[:, model.classes_] = model.predict_proba(points[split.test])
    return found


def converged():
    return LogisticRegression(solver="newton-cg", tol=1e-10, max_iter=1000)


class TestLogisticRegression:
    @pytest.mark.parametrize("classes", [2, 6])
    def test_is_scikit_learns_when_that_has_converged(self, classes):
        points, codes = POINTS.astype(float), CODES % classes
        for split, ours in zip(SPLITS, logistic.predict(POINTS, codes, SPLITS, classes), strict=True):
            assert ours == pytest.approx(theirs(points, codes, split, converged()), abs=2e-4)

    @pytest.mark.parametrize("cells", [60, 300])
    def test_more_features_than_cells_change_nothing(self, cells):
        random = np.random.default_rng(5)
        codes = np.arange(cells) % 3
        values = random.normal(size=(cells, 400)) * random.uniform(0.1, 9, 400) + 0.3 * codes[:, None]
        splits = [Split(*np.array_split(random.permutation(cells), [4 * cells // 5])) for _ in range(2)]
        found = logistic.predict(values, codes, splits, 3)
        for split, chances in zip(splits, found, strict=True):
            assert chances == pytest.approx(theirs(values, codes, split, converged()), abs=2e-4)

    def test_one_curvature_for_all_classes_leads_there_too(self, monkeypatch):
        expected = logistic.predict(POINTS, CODES, SPLITS, 6)
        monkeypatch.setattr(logistic, "FACTORS", 0)
        for one, other in zip(logistic.predict(POINTS, CODES, SPLITS, 6), expected, strict=True):
            assert one == pytest.approx(other, abs=2e-4)

    def test_weights_are_scikit_learns(self):
        chosen = trained(SPLITS[:1], len(CODES))
        scaled = Scaled.of(POINTS, chosen, np.float64)
        ours = logistic.fit(scaled, CODES, chosen, 6, tolerance=1e-8)[0]
        train = SPLITS[0].train
        points = StandardScaler().fit_transform(POINTS[train].astype(float))
        model = converged().fit(points, CODES[train])
        assert ours[:, :-1] == pytest.approx(model.coef_, abs=1e-4)

    def test_is_nearer_the_optimum_than_scikit_learns_own_stop(self):
        points, split = POINTS.astype(float), SPLITS[0]
        best = theirs(points, CODES, split, converged())
        off = np.abs(theirs(points, CODES, split, LogisticRegression()) - best).max()
        assert np.abs(logistic.predict(POINTS, CODES, SPLITS, 6)[0] - best).max() < off / 10

    def test_in_single_precision_differs_little(self, monkeypatch):
        exact = logistic.predict(POINTS, CODES, SPLITS, 6)
        monkeypatch.setattr(logistic, "EXACT", 0)
        monkeypatch.setattr(logistic, "SKETCH", 300)
        monkeypatch.setattr(logistic, "CURVED", 200)
        single = logistic.predict(POINTS, CODES, SPLITS, 6)
        for one, other in zip(exact, single, strict=True):
            assert one == pytest.approx(other, abs=5e-3)
            assert (one.argmax(1) == other.argmax(1)).mean() > 0.99

    def test_gives_a_class_it_never_saw_no_chance(self):
        split = Split(np.flatnonzero(CODES != 2), np.flatnonzero(CODES == 2))
        found = logistic.predict(POINTS, CODES, [split], 6)[0]
        assert (found[:, 2] == 0).all()
        assert found == pytest.approx(theirs(POINTS.astype(float), CODES, split, converged()), abs=2e-4)

    def test_features_of_any_size_and_constant_ones_are_scaled(self):
        odd = np.column_stack([POINTS * 1e-6 + 3, np.full(900, 7.0), POINTS[:, 0].astype(float) * 1e9])
        found = logistic.predict(odd, CODES, SPLITS[:1], 6)[0]
        assert found == pytest.approx(theirs(odd, CODES, SPLITS[0], converged()), abs=1e-3)
        flat = logistic.predict(np.ones((900, 3)), CODES, SPLITS[:1], 6)[0]
        shares = np.bincount(CODES[SPLITS[0].train]) / len(SPLITS[0].train)
        assert flat == pytest.approx(np.tile(shares, (len(flat), 1)), abs=1e-5)


class TestNeighbours:
    @pytest.fixture
    def many(self, monkeypatch):
        """As with many cells: one pass for all folds."""
        monkeypatch.setattr(neighbours, "SMALL", 0)

    @pytest.mark.parametrize("points", [POINTS, POINTS.astype(float), POINTS * [1e3] + 1e4], ids=["f4", "f8", "far"])
    def test_one_pass_gives_what_scikit_learn_finds_fold_by_fold(self, many, points):
        found = neighbours.predict(points, CODES, SPLITS, 6)
        for split, ours in zip(SPLITS, found, strict=True):
            assert (ours == theirs(points.astype(float), CODES, split, KNeighborsClassifier())).all()

    def test_without_structure_the_proof_fails_and_each_fold_is_searched(self, many):
        points = np.random.default_rng(0).normal(size=(900, 100)).astype(np.float32)
        scaled = Scaled.of(points, trained(SPLITS, 900), np.float32)
        slack = ((scaled.ratio.max(1) / scaled.ratio.min(1)) ** 2).max()
        pairs = [(slice(0, 400), slice(400, 900))]
        assert not neighbours._candidates(scaled.values, pairs, slack, asked=900).proven.all()
        for split, ours in zip(SPLITS, neighbours.predict(points, CODES, SPLITS, 6), strict=True):
            assert (ours == theirs(points.astype(float), CODES, split, KNeighborsClassifier())).all()

    def test_any_split_will_do(self, many):
        split = Split(np.arange(0, 300), np.arange(500, 900))
        ours = neighbours.predict(POINTS, CODES, [split], 6)[0]
        assert (ours == theirs(POINTS.astype(float), CODES, split, KNeighborsClassifier())).all()

    def test_equal_cells_do_no_harm(self, many):
        points = np.repeat(POINTS[:9], 100, axis=0)  # every cell a hundred times
        codes = np.tile(np.arange(100) % 2, 9)
        split = Split(np.flatnonzero(np.arange(900) % 10 > 0), np.flatnonzero(np.arange(900) % 10 == 0))
        for given in (points, np.ones((900, 2))):
            found = neighbours.predict(given, codes, [split], 2)[0]
            assert found.sum(axis=1) == pytest.approx(1)
            assert (found == neighbours.predict(given, codes, [split], 2)[0]).all()

    def test_small_and_large_inputs_agree(self, monkeypatch):
        small = neighbours.predict(POINTS, CODES, SPLITS, 6)
        monkeypatch.setattr(neighbours, "SMALL", 0)
        for one, other in zip(small, neighbours.predict(POINTS, CODES, SPLITS, 6), strict=True):
            assert (one == other).all()


class TestForest:
    @pytest.fixture
    def many(self, monkeypatch):
        monkeypatch.setattr(forest, "BINNED", 0)

    @pytest.mark.parametrize("kind", ["dense", "mostly zero", "two classes"])
    def test_on_bins_differs_from_scikit_learns_no_more_than_that_from_itself(self, monkeypatch, kind):
        points = np.maximum(POINTS - np.quantile(POINTS, 0.8), 0) if kind == "mostly zero" else POINTS
        codes = CODES % 2 if kind == "two classes" else CODES

        def chances(seed):
            return np.concatenate(forest.predict(points, codes, SPLITS[:2], codes.max() + 1, seed=seed))

        one, other = chances(0), chances(1)
        monkeypatch.setattr(forest, "BINNED", 0)
        ours = chances(0)
        truth = codes[np.concatenate([split.test for split in SPLITS[:2]])]
        right = [(given.argmax(axis=1) == truth).mean() for given in (one, other, ours)]
        assert np.abs(ours - one).mean() < 1.15 * np.abs(one - other).mean()
        assert right[2] == pytest.approx(np.mean(right[:2]), abs=0.03)  # of 360 cells

    def test_on_bins_is_the_same_whatever_the_number_of_threads(self, many):
        with threadpool_limits(1):
            one = forest.predict(POINTS, CODES, SPLITS[:2], 6, seed=3)
        two = forest.predict(POINTS, CODES, SPLITS[:2], 6, seed=3)
        assert all((a == b).all() for a, b in zip(one, two, strict=True))
        other = forest.predict(POINTS, CODES, SPLITS[:2], 6, seed=4)
        assert (one[0] != other[0]).any()

    def test_on_bins_fits_its_training_cells(self, many):
        everything = Split(np.arange(900), np.arange(900))
        found = forest.predict(POINTS, CODES, [everything], 6)[0]
        assert (found.argmax(axis=1) == CODES).all()
        assert found.sum(axis=1) == pytest.approx(1)

    def test_on_bins_of_constant_features_gives_the_shares(self, many):
        found = forest.predict(np.ones((900, 3), np.float32), CODES, SPLITS[:1], 6)[0]
        shares = np.bincount(CODES[SPLITS[0].train]) / len(SPLITS[0].train)
        assert found == pytest.approx(np.tile(shares, (len(found), 1)), abs=0.02)

    def test_of_few_cells_is_scikit_learns_own(self):
        assert (forest.kind(2999), forest.kind(3000)) == ("exact", "binned")


class TestMetrics:
    """Of one fold, against scikit-learn, also where cells have weights."""

    @pytest.mark.parametrize("ties", [False, True])
    @pytest.mark.parametrize("weighted", [False, True])
    def test_are_scikit_learns(self, ties, weighted):
        random = np.random.default_rng(0)
        truth, chances = random.integers(0, 7, 500), random.dirichlet(np.ones(7), 500)
        if ties:
            chances = random.multinomial(5, chances) / 5
        weights = random.integers(0, 4, 500) if weighted else np.ones(500)
        split = Split(np.arange(500), np.arange(500))
        found = Judged(truth, [split], [chances]).weighted(weights[:, None].astype(np.float32))
        predicted = chances.argmax(axis=1)
        expected = dict(
            zip(
                ("precision", "recall", "f1"),
                precision_recall_fscore_support(
                    truth, predicted, average="macro", sample_weight=weights, zero_division=0
                )[:3],
                strict=True,
            )
        )
        expected["accuracy"] = accuracy_score(truth, predicted, sample_weight=weights)
        expected["auroc"] = np.mean([roc_auc_score(truth == c, chances[:, c], sample_weight=weights) for c in range(7)])
        assert {metric: values[0, 0] for metric, values in found.items()} == pytest.approx(expected, abs=1e-9)

    def test_two_classes_are_averaged_like_many(self):
        random = np.random.default_rng(1)
        truth, chances = np.repeat([0, 1], [60, 140]), random.dirichlet([1, 2], 200)
        found = Judged(truth, [Split(np.arange(200), np.arange(200))], [chances]).values
        macro = precision_recall_fscore_support(truth, chances.argmax(1), average="macro")[2]
        assert found["f1"][0] == pytest.approx(macro, abs=1e-12)
        assert found["auroc"][0] == pytest.approx(roc_auc_score(truth, chances[:, 1]), abs=1e-12)

    def test_a_class_the_fold_never_trained_on_does_not_count(self):
        truth = np.array([0, 0, 1, 1, 0, 1, 2])
        chances = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.5, 0.5, 0]])
        judged = Judged(truth, [Split(np.arange(4), np.arange(4, 7))], [chances])
        assert judged.n_judged == 2
        assert {metric: values[0] for metric, values in judged.values.items()} == dict.fromkeys(
            classification.METRICS, 1
        )
        assert judged.confusion.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
        assert np.isnan(judged.by_class["recall"][2])

    def test_a_fold_of_one_class_has_no_auroc_rather_than_a_half(self):
        judged = Judged(np.array([0, 1, 0, 0]), [Split(np.arange(2), np.arange(2, 4))], [np.full((2, 2), 0.5)])
        assert np.isnan(judged.values["auroc"]).all()
        assert judged.values["accuracy"] == 1


class TestFolds:
    def test_a_class_smaller_than_the_folds_is_refused_not_averaged_away(self):
        with pytest.raises(ValueError, match="3 cells, fewer than the 5 folds"):
            classification.cross_validate(POINTS, np.array(["a"] * 897 + ["b"] * 3))

    def test_donors_are_never_split(self):
        donors = np.array([f"d{n}" for n in range(9)])[np.arange(900) // 100]
        for split in grouped(CODES, donors, 5, 42):
            assert not set(donors[split.train]) & set(donors[split.test])


@pytest.mark.parametrize("large", [False, True])
def test_bits_do_not_depend_on_threads(monkeypatch, large):
    if large:
        for module, name in ((neighbours, "SMALL"), (forest, "BINNED"), (logistic, "EXACT")):
            monkeypatch.setattr(module, name, 0)
    with threadpool_limits(1):
        one = classification.judge(POINTS, CODES, SPLITS)
    with threadpool_limits(2):
        two = classification.judge(POINTS, CODES, SPLITS)
    for name in one:
        for metric in classification.METRICS:
            assert (one[name].values[metric] == two[name].values[metric]).all(), (name, metric)
        assert all((a.chances == b.chances).all() for a, b in zip(one[name].folds, two[name].folds, strict=True)), name
