/* SPDX-License-Identifier: MIT */
/* Utilities: values worked out by hand, derivatives against differences, and no loss of digits in a network that is sure. */
#include "cam/utility.h"
#include "tests/test.h"

#include <math.h>
#include <string.h>

enum { CLASSES = 6 };

static void check_near(const char *what, double got, double want, double tolerance)
{
    CHECK_MSG(fabs(got - want) <= tolerance, "%s: %.12g, want %.12g", what, got, want);
}

TEST(values_gradients_and_products_are_those_worked_out_by_hand)
{
    static const struct {
        cam_utility u;
        double value, gradient[3], hvp[3];
    } rows[] = {
        {CAM_LOGIT, 2, {1, 0, 0}, {0, 0, 0}},
        {CAM_SOFTMAX,
         0.665240955775,
         {0.222695426535, -0.162803401990, -0.059892024545},
         {-0.087813928235, 0.195550860564, -0.107736932330}},
        {CAM_LOGSOFTMAX,
         -0.407605964444,
         {0.334759044225, -0.244728471055, -0.090030573170},
         {-0.265714779435, 0.391705937540, -0.125991158105}},
        {CAM_REST,
         1.592394035556,
         {1.334759044225, -0.244728471055, -0.090030573170},
         {-0.265714779435, 0.391705937540, -0.125991158105}},
        {CAM_CONTRAST, 1, {1, -1, 0}, {0, 0, 0}},
        {CAM_FINER, 1.268941421370, {1, -0.927670511871, -0.072329488129}, {0, 0.907098356430, -0.907098356430}},
    };
    _Static_assert(sizeof rows / sizeof *rows == CAM_UTILITIES, "a row for each utility");
    static const float o[] = {2, 1, 0}, v[] = {1, -1, 2};
    for (int i = 0; i < CAM_UTILITIES; i++) {
        float gradient[3], hvp[3];
        check_near(cam_utility_name(rows[i].u), cam_utility_at((cam_aim){rows[i].u, 0, CAM_STRONGEST}, o, 3, v, gradient, hvp), rows[i].value, 1e-12);
        for (int k = 0; k < 3; k++) {
            check_near("gradient", (double)gradient[k], rows[i].gradient[k], 1e-7);
            check_near("product", (double)hvp[k], rows[i].hvp[k], 5e-8);
        }
        check_near("value alone", cam_utility_at((cam_aim){rows[i].u, 0, CAM_STRONGEST}, o, 3, NULL, NULL, NULL), rows[i].value, 1e-12);
    }
    double s[3];
    cam_softmax(o, 3, s);
    check_near("softmax", s[0], 0.665240955775, 1e-12);
    check_near("softmax", s[2], 0.090030573170, 1e-12);
}

/* Exponentials are computed some at a time: three classes of 130, far apart, among others that are out of the question. */
TEST(where_a_class_stands_among_many_changes_nothing)
{
    enum { MANY = 130 };
    static const int place[] = {63, 64, 129};
    static const float o[] = {2, 1, 0}, v[] = {1, -1, 2};
    float far[MANY], along[MANY] = {0}, want[2][3], got[2][MANY];
    for (int i = 0; i < MANY; i++) far[i] = -1e4f;
    for (int i = 0; i < 3; i++) far[place[i]] = o[i], along[place[i]] = v[i];
    for (cam_utility u = CAM_LOGIT; u < CAM_UTILITIES; u++) {
        double value = cam_utility_at((cam_aim){u, 0, CAM_STRONGEST}, o, 3, v, want[0], want[1]);
        check_near(cam_utility_name(u), cam_utility_at((cam_aim){u, place[0], CAM_STRONGEST}, far, MANY, along, got[0], got[1]), value, 1e-12);
        for (int k = 0; k < 2; k++)
            for (int i = 0, known = 0; i < MANY; i++) {
                int is_known = i == place[known];
                check_near(cam_utility_name(u), (double)got[k][i], is_known ? (double)want[k][known] : 0, 1e-7);
                known += is_known && known < 2;
            }
    }
}

/* o moved by t along v; t and v are small powers of two and whole numbers, o is rounded, so that the move is exact. */
static void move(const float *o, const float *v, float t, float *out)
{
    for (int i = 0; i < CLASSES; i++) out[i] = o[i] + t * v[i];
}

/* Whether no two classes are nearly as far from class c: small moves then leave the strongest rivals the same. */
static int rivals_are_clear(const float *o, int c)
{
    for (int i = 0; i < CLASSES; i++)
        for (int k = 0; k < i; k++)
            if (i != c && k != c && (fabsf(fabsf(o[i] - o[c]) - fabsf(o[k] - o[c])) < 0.03f || fabsf(o[i] - o[k]) < 0.03f)) return 0;
    return 1;
}

TEST(gradients_and_products_are_the_slopes_of_values_and_gradients)
{
    int clear = 0;
    static const float step = 0x1p-9f;
    for (int round = 0; round < 40; round++) {
        float o[CLASSES], v[CLASSES], up[CLASSES], down[CLASSES], gradient[CLASSES], hvp[CLASSES], after[CLASSES], before[CLASSES];
        int c = (int)(t_random() % CLASSES);
        for (int i = 0; i < CLASSES; i++) {
            o[i] = (float)((int)(t_random() % 256) - 128) * 0x1p-6f;
            v[i] = (float)((int)(t_random() % 5) - 2);
        }
        move(o, v, step, up);
        move(o, v, -step, down);
        for (cam_utility u = CAM_LOGIT; u < CAM_UTILITIES; u++) {
            double slope = 0;
            if ((u == CAM_FINER || u == CAM_CONTRAST) && !rivals_are_clear(o, c)) continue;
            clear += u == CAM_FINER;
            cam_utility_at((cam_aim){u, c, CAM_STRONGEST}, o, CLASSES, v, gradient, hvp);
            for (int i = 0; i < CLASSES; i++) slope += (double)gradient[i] * (double)v[i];
            double difference =
                cam_utility_at((cam_aim){u, c, CAM_STRONGEST}, up, CLASSES, NULL, after, NULL) - cam_utility_at((cam_aim){u, c, CAM_STRONGEST}, down, CLASSES, NULL, before, NULL);
            check_near(cam_utility_name(u), slope, difference / (2 * (double)step), 5e-5);
            for (int i = 0; i < CLASSES; i++)
                check_near(cam_utility_name(u), (double)hvp[i], ((double)after[i] - (double)before[i]) / (2 * (double)step), 1e-4);
        }
    }
    CHECK(clear > 5);
}

/* s_c (1 - s_c) of logits 40, 0, 0 is 2 exp(-40), far below the last digit of 1. */
TEST(a_sure_network_keeps_all_digits)
{
    static const float o[] = {40, 0, 0};
    float gradient[3], hvp[3];
    double rest = 2 * exp(-40);
    cam_utility_at((cam_aim){CAM_SOFTMAX, 0, CAM_STRONGEST}, o, 3, o, gradient, hvp);
    check_near("softmax gradient", (double)gradient[0] / rest, 1, 1e-6);
    check_near("softmax product", (double)hvp[0] / (-40 * rest), 1,
               1e-6); /* s_c (v_c - m) (1 - s_c) - s_c s_c (v_c - m), v_c - m = 40 rest */
    cam_utility_at((cam_aim){CAM_LOGSOFTMAX, 0, CAM_STRONGEST}, o, 3, o, gradient, hvp);
    check_near("logsoftmax gradient", (double)gradient[0] / rest, 1, 1e-6);
    cam_utility_at((cam_aim){CAM_REST, 0, CAM_STRONGEST}, o, 3, o, gradient, hvp);
    check_near("rest gradient", (double)gradient[0], 1, 0);
}

TEST(logits_of_any_size_stay_finite)
{
    static const float o[] = {1e30f, -1e30f, 88, -3e38f};
    for (cam_utility u = CAM_LOGIT; u < CAM_UTILITIES; u++)
        for (int c = 0; c < 4; c++) {
            float gradient[4], hvp[4], v[] = {1, 2, 3, 4};
            CHECK(isfinite(cam_utility_at((cam_aim){u, c, CAM_STRONGEST}, o, 4, v, gradient, hvp)));
            for (int i = 0; i < 4; i++) CHECK(isfinite(gradient[i]) && isfinite(hvp[i]));
        }
}

TEST(utilities_are_found_in_any_spelling)
{
    for (cam_utility u = CAM_LOGIT; u < CAM_UTILITIES; u++) CHECK(cam_utility_find(cam_utility_name(u)) == u);
    CHECK(cam_utility_find("Log-SoftMax") == CAM_LOGSOFTMAX && cam_utility_find("ReST") == CAM_REST);
    CHECK(cam_utility_find("") == CAM_UTILITIES && cam_utility_find("softma") == CAM_UTILITIES &&
          cam_utility_find("probability") == CAM_UTILITIES);
}
