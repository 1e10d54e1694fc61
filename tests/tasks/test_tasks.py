import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cellgauge_tasks import NotApplicable, clustering, embedding, find, label_prediction
from cellgauge_tasks.metrics.classification import cross_validate
from cellgauge_tasks.metrics.clusters import leiden
from cellgauge_tasks.metrics.silhouette import silhouette_label

TASKS = find()
ORACLE = json.loads((Path(__file__).parent / "oracle.json").read_text())


@pytest.fixture(scope="module")
def fixture():
    """600 made cells, 400 genes, 5 types, 3 batches, 16 dimensions: counts, embedding, obs. See oracle.json."""
    shared, own = np.random.default_rng(12345), np.random.default_rng(0)
    base, programs = shared.gamma(2.0, 0.5, size=400), shared.gamma(1.0, 1.0, size=(5, 400))
    centres = shared.normal(size=(5, 16))
    kind, batch = np.arange(600) % 5, (np.arange(600) // 5) % 3
    batch_genes, batch_centres = own.normal(0, 0.15, size=(3, 400)), own.normal(size=(3, 16))
    counts = own.poisson(np.exp(np.log(base) + 0.15 * np.log1p(programs[kind]) + batch_genes[batch])).astype(np.float32)
    points = (0.6 * centres[kind] + 0.4 * batch_centres[batch] + own.normal(size=(600, 16))).astype(np.float32)
    obs = pd.DataFrame({"cell_type": [f"t{n}" for n in kind]}, index=[f"c{n}" for n in range(600)])
    assert (counts.sum(), round(float(np.abs(points).sum()), 2)) == (268908, 9288.55)
    return counts, points, obs


def by_name(scores):
    return {(score.metric, score.params.get("classifier", "")): score.value for score in scores}


class TestOracle:
    """Values of cz-benchmarks 0.15 on the same cells; oracle.json says where they come from."""

    def test_clustering(self, fixture):
        _, points, obs = fixture
        found = by_name(clustering.score(points, obs))
        assert found["adjusted_rand_index", ""] == pytest.approx(ORACLE["clustering"]["adjusted_rand_index"], abs=1e-9)
        assert found["normalized_mutual_info", ""] == pytest.approx(
            ORACLE["clustering"]["normalized_mutual_info"], abs=1e-9
        )

    def test_embedding(self, fixture):
        _, points, obs = fixture
        # Theirs is computed in float32.
        assert by_name(embedding.score(points, obs))["silhouette_label", ""] == pytest.approx(
            ORACLE["embedding"]["silhouette"], abs=1e-6
        )

    def test_label_prediction(self, fixture):
        _, points, obs = fixture
        found = by_name(label_prediction.score(points, obs))
        for classifier, metrics in ORACLE["label_prediction"].items():
            for metric, value in metrics.items():
                assert found[metric, classifier] == pytest.approx(value, abs=1e-9), (classifier, metric)

    def test_the_pca_model_is_the_plain_workflow(self, fixture):
        counts, _, obs = fixture
        components = pca_model(counts, n_top_genes=200, n_components=20)
        assert np.abs(components).sum(0)[:5] == pytest.approx(ORACLE["pca_abs_sum_first5"], rel=1e-4)
        found = by_name(embedding.score(components, obs))
        assert found["silhouette_label", ""] == pytest.approx(ORACLE["embedding_baseline"]["silhouette"], abs=1e-5)
        found = by_name(clustering.score(components, obs))
        assert found["adjusted_rand_index", ""] == pytest.approx(
            ORACLE["clustering_baseline"]["adjusted_rand_index"], abs=1e-6
        )

    def test_the_hvg_model_is_log_normalised_counts(self, fixture):
        counts, _, _ = fixture
        found = shipped_model("hvg", counts, n_top_genes=400)
        total = counts.sum(axis=1, keepdims=True)
        assert np.asarray(found.todense()) == pytest.approx(np.log1p(counts / total * np.median(total)), rel=1e-5)
        fewer = shipped_model("hvg", counts, n_top_genes=50)
        assert fewer.shape == (600, 50)


def pca_model(counts, **params):
    return shipped_model("pca", counts, **params)


def shipped_model(name, counts, **params):
    import importlib.util
    from types import SimpleNamespace

    import anndata
    import scipy.sparse as sp

    from support import ROOT

    spec = importlib.util.spec_from_file_location(f"{name}_model", ROOT / "model-images" / name / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.embed(None, anndata.AnnData(sp.csr_matrix(counts)), SimpleNamespace(params=params, seed=42))


class TestIndependently:
    """Against definitions written out, and other libraries."""

    def test_silhouette_is_its_definition(self, fixture):
        _, points, obs = fixture
        points, labels = points[:120].astype(float), obs["cell_type"].to_numpy()[:120]
        distances = np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))
        widths = []
        for i, label in enumerate(labels):
            own = (labels == label) & (np.arange(120) != i)
            a = distances[i, own].mean()
            b = min(distances[i, labels == other].mean() for other in set(labels) - {label})
            widths.append((b - a) / max(a, b))
        assert silhouette_label(points, labels) == pytest.approx((np.mean(widths) + 1) / 2, abs=1e-12)

    def test_knn_accuracy_is_its_definition(self, fixture):
        from sklearn.model_selection import StratifiedKFold

        _, points, obs = fixture
        labels = obs["cell_type"].to_numpy(dtype=str)
        shares = []
        for train, test in StratifiedKFold(5, shuffle=True, random_state=42).split(points, labels):
            mean, spread = points[train].mean(0), points[train].std(0)
            known, asked = (points[train] - mean) / spread, (points[test] - mean) / spread
            nearest = ((asked[:, None] - known[None]) ** 2).sum(-1).argsort(1)[:, :5]
            names = np.unique(labels)
            votes = np.array([[(labels[train][row] == name).sum() for name in names] for row in nearest])
            shares.append((names[votes.argmax(1)] == labels[test]).mean())
        assert cross_validate(points, labels)["knn"]["accuracy"] == pytest.approx(np.mean(shares), abs=1e-12)

    def test_clusters_are_scanpys(self, fixture):
        import anndata
        import scanpy

        _, points, _ = fixture
        adata = anndata.AnnData(points)
        scanpy.pp.neighbors(adata, use_rep="X", random_state=42)
        scanpy.tl.leiden(adata, flavor="igraph", n_iterations=2, directed=False, random_state=42)
        assert (leiden(points) == adata.obs["leiden"].to_numpy(dtype=str)).all()

    def test_neighbours_stay_exact_where_scanpys_own_would_be_approximate(self):
        import anndata
        import scanpy

        points = np.random.default_rng(0).normal(size=(8300, 2)).astype("float32")
        adata = anndata.AnnData(points)
        scanpy.pp.neighbors(adata, use_rep="X", transformer="sklearn", random_state=1)
        assert "pynndescent" not in str(adata.uns["neighbors"])
        scanpy.tl.leiden(adata, flavor="igraph", n_iterations=2, directed=False, random_state=1)
        assert (leiden(points, seed=1) == adata.obs["leiden"].to_numpy(dtype=str)).all()

    def test_huge_values_do_not_overflow(self):
        random = np.random.default_rng(0)
        labels = np.array(["a", "b"] * 50)
        points = (random.normal(size=(100, 3)) + 10 * (labels == "a")[:, None]).astype("float32")
        small, huge = (embedding.score(p, {"cell_type": labels})[0].value for p in (points, points * np.float32(1e19)))
        assert huge == pytest.approx(small, abs=1e-5)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
class TestEveryTask:
    def test_truth_scores_high_and_chance_low(self, task, fixture):
        _, _, obs = fixture
        random = np.random.default_rng(0)
        truth = pd.get_dummies(obs["cell_type"]).to_numpy(dtype=float) * 10 + random.normal(0, 0.1, (600, 5))
        chance = random.normal(size=(600, 5))
        best, worst = by_name(task.score(truth, obs)), by_name(task.score(chance, obs))
        for (metric, classifier), value in best.items():
            if metric in task.headline:
                assert value > 0.95, (metric, classifier)
                assert worst[metric, classifier] < 0.6, (metric, classifier)

    def test_names_of_labels_do_not_matter(self, task, fixture):
        _, points, obs = fixture
        renamed = {"cell_type": obs["cell_type"].map({f"t{n}": f"{9 - n} x" for n in range(5)})}
        before, after = by_name(task.score(points, obs)), by_name(task.score(points, renamed))
        deterministic = [key for key in before if key[1] not in ("random_forest", "mean") and key[1] != "knn"]
        for key in deterministic:
            assert after[key] == pytest.approx(before[key], abs=0.02), key

    def test_the_same_input_gives_the_same_numbers(self, task, fixture):
        _, points, obs = fixture
        assert task.score(points[:200], obs[:200], seed=3) == task.score(points[:200], obs[:200], seed=3)

    def test_cells_without_a_label_take_no_part(self, task, fixture):
        _, points, obs = fixture
        holed = obs.copy()
        holed.loc[holed.index[::7], "cell_type"] = None
        kept = np.arange(600) % 7 != 0
        assert task.score(points, holed) == task.score(points[kept], obs[kept])

    def test_the_callers_arrays_are_left_alone(self, task, fixture):
        _, points, obs = fixture
        points, before = points.copy(), obs.copy()
        task.score(points, obs)
        assert (points == fixture[1]).all()
        pd.testing.assert_frame_equal(obs, before)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_a_value_that_is_no_number_is_refused(self, task, fixture, value):
        _, points, obs = fixture
        broken = points.copy()
        broken[3, 3] = value
        with pytest.raises(ValueError, match="NaN or infinite"):
            task.score(broken, obs)

    def test_one_label_alone_does_not_apply(self, task, fixture):
        _, points, _ = fixture
        with pytest.raises(NotApplicable, match="1 distinct label"):
            task.score(points, {"cell_type": ["a"] * 600})

    def test_a_missing_column_and_a_sparse_matrix_are_understood(self, task, fixture):
        import scipy.sparse as sp

        _, points, obs = fixture
        with pytest.raises(ValueError, match="obs has no column 'cell_type'; name yours so"):
            task.score(points, obs.rename(columns={"cell_type": "bulk_labels"}))
        assert task.score(sp.csr_matrix(points), obs) == task.score(points, obs)

    def test_lengths_that_differ_are_refused(self, task, fixture):
        _, points, obs = fixture
        with pytest.raises(ValueError, match="does not fit"):
            task.score(points[:-1], obs)

    def test_metrics_lie_between_their_bounds_and_tell_their_cells(self, task, fixture):
        _, points, obs = fixture
        for score in task.score(points, obs):
            assert -0.5 <= score.value <= 1
            assert score.n_cells == 600


def test_small_classes_are_left_out_of_label_prediction(fixture):
    _, points, _ = fixture
    labels = ["a"] * 300 + ["b"] * 291 + ["rare"] * 9
    assert {score.n_cells for score in label_prediction.score(points, {"cell_type": labels})} == {591}
    with pytest.raises(NotApplicable, match="fewer than 2 classes have 10 cells"):
        label_prediction.score(points, {"cell_type": ["a"] * 591 + ["rare"] * 9})


def test_two_classes_are_averaged_like_many(fixture):
    from sklearn.metrics import f1_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    _, points, _ = fixture
    labels = np.array(["a"] * 200 + ["b"] * 400)
    folds = StratifiedKFold(5, shuffle=True, random_state=42)
    predicted = cross_val_predict(make_pipeline(StandardScaler(), KNeighborsClassifier()), points, labels, cv=folds)
    each = [f1_score(labels[test], predicted[test], average="macro") for _, test in folds.split(points, labels)]
    assert cross_validate(points, labels)["knn"]["f1"] == pytest.approx(np.mean(each), abs=1e-12)


def test_a_class_smaller_than_the_folds_is_refused_not_averaged_away(fixture):
    with pytest.raises(ValueError, match="3 cells, fewer than the 5 folds"):
        cross_validate(fixture[1], np.array(["a"] * 597 + ["b"] * 3))


def test_every_cell_its_own_label_does_not_apply(fixture):
    with pytest.raises(NotApplicable):
        silhouette_label(fixture[1][:5], np.array(list("abcde")))


def test_every_task_names_a_shipped_model_as_its_baseline(models):
    assert {task.baseline for task in TASKS.values()} <= {name for name, model in models.items() if model.spec.baseline}
